"""A cancellation that comes together with the awaited result is not lost."""

import asyncio

import pytest

import model_engine_chassis  # noqa: F401  # mends asyncio when it is imported


async def test_a_cancelled_task_ends_even_when_its_result_is_there() -> None:
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.wait_for(answer, 10)

    task = asyncio.create_task(work())
    await begun.wait()
    answer.set_result(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_takes_too_long_is_cancelled() -> None:
    never: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    for timeout in (0.01, 0, -1):
        waiting = asyncio.ensure_future(never) if timeout > 0 else asyncio.get_running_loop().create_future()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waiting, timeout)
        assert waiting.cancelled()


async def test_results_and_errors_pass() -> None:
    async def fail() -> None:
        raise KeyError("x")

    assert await asyncio.wait_for(asyncio.to_thread(lambda: 5), 5) == 5
    with pytest.raises(KeyError):
        await asyncio.wait_for(fail(), None)
