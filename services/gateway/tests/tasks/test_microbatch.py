"""Micro-batches: everybody's write is done when they are told so, and errors reach those whose write failed."""

import asyncio
from collections.abc import Sequence

import pytest

from model_engine_gateway.tasks.microbatch import MicroBatcher
from model_engine_local.testing import eventually


async def test_what_comes_together_is_flushed_together() -> None:
    batches: list[list[int]] = []

    async def flush(items: Sequence[int]) -> None:
        batches.append(list(items))

    batcher = MicroBatcher(flush, delay=0.01, max_items=100)
    await asyncio.gather(*(batcher.add(number) for number in range(250)))
    assert [len(batch) for batch in batches] == [100, 100, 50]
    assert sorted(number for batch in batches for number in batch) == list(range(250))


async def test_an_error_reaches_its_batch_only() -> None:
    async def flush(items: Sequence[str]) -> None:
        if "bad" in items:
            raise ValueError("no")

    batcher = MicroBatcher(flush, max_items=2)
    results = await asyncio.gather(*map(batcher.add, ("bad", "x", "y", "z")), return_exceptions=True)
    assert [type(result) for result in results] == [ValueError, ValueError, type(None), type(None)]


async def test_a_caller_that_leaves_does_not_stop_the_others() -> None:
    flushed: list[int] = []

    async def flush(items: Sequence[int]) -> None:
        flushed.extend(items)

    batcher = MicroBatcher(flush, delay=0.01)
    leaving = asyncio.create_task(batcher.add(1))
    staying = asyncio.create_task(batcher.add(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await staying
    assert flushed == [1, 2]
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_closing_flushes_what_is_left_and_flushes_are_bounded() -> None:
    running, most = 0, 0

    async def flush(items: Sequence[int]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    batcher = MicroBatcher(flush, delay=60, max_items=1, max_flushes=3)
    for number in range(20):
        batcher.add_nowait(number)
    batcher.add_nowait(20)
    await batcher.close()
    assert (running, most) == (0, 3)


async def test_while_flushes_are_slow_the_next_batch_grows() -> None:
    release = asyncio.Event()
    sizes: list[int] = []

    async def flush(items: Sequence[int]) -> None:
        sizes.append(len(items))
        await release.wait()

    batcher = MicroBatcher(flush, delay=0, max_flushes=1)
    batcher.add_nowait(0)
    await eventually(lambda: sizes == [1])
    for number in range(30):
        batcher.add_nowait(number)
        await asyncio.sleep(0)
    release.set()
    await batcher.close()
    assert sizes == [1, 30]
