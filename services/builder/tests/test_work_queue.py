"""The queue of names."""

import asyncio

import pytest

from model_engine_builder.work_queue import WorkQueue


async def taken(queue: WorkQueue) -> str:
    async with asyncio.timeout(5):
        return await queue.get()


async def is_empty(queue: WorkQueue) -> bool:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await queue.get()
    return True


async def test_a_name_waits_once_and_in_order() -> None:
    queue = WorkQueue("test")
    for name in ("a", "b", "a"):
        queue.add(name)
    assert [await taken(queue), await taken(queue)] == ["a", "b"]
    assert await is_empty(queue)


async def test_a_name_is_with_one_worker_at_a_time() -> None:
    queue = WorkQueue("test")
    queue.add("a")
    assert await taken(queue) == "a"
    queue.add("a")
    assert await is_empty(queue)
    queue.done("a")
    assert await taken(queue) == "a"


async def test_a_name_comes_at_the_earliest_of_its_times() -> None:
    queue = WorkQueue("test")
    queue.add_after("a", 3600)
    queue.add_after("a", 0.01)
    queue.add_after("a", 3600)
    assert await taken(queue) == "a"
    queue.done("a")
    assert await is_empty(queue)
