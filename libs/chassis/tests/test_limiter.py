"""The limiter never admits more than its bound and loses no place, however waits end."""

import asyncio
import random

import pytest

from model_engine_chassis.limiter import Limiter, LimitReached


async def test_refuses_at_once_without_a_queue() -> None:
    limiter = Limiter(1)
    await limiter.acquire()
    with pytest.raises(LimitReached) as caught:
        await limiter.acquire()
    assert not caught.value.waited
    limiter.release()
    await limiter.acquire()


async def test_waiting_ends_with_its_deadline() -> None:
    limiter = Limiter(1, max_waiting=1, wait_seconds=0.01)
    await limiter.acquire()
    with pytest.raises(LimitReached) as caught:
        await limiter.acquire()
    assert caught.value.waited
    limiter.release()
    assert limiter.running == 0


async def test_waiters_are_served_in_order() -> None:
    limiter = Limiter(1, max_waiting=3, wait_seconds=5)
    await limiter.acquire()
    served = []

    async def wait(number: int) -> None:
        await limiter.acquire()
        served.append(number)
        limiter.release()

    waiters = [asyncio.create_task(wait(number)) for number in range(3)]
    await asyncio.sleep(0)
    limiter.release()
    await asyncio.gather(*waiters)
    assert served == [0, 1, 2]


async def test_no_place_is_lost_to_cancelled_waiters() -> None:
    chance = random.Random(4)
    limiter = Limiter(3, max_waiting=100, wait_seconds=5)
    peak = 0

    async def hold() -> None:
        nonlocal peak
        await limiter.acquire()
        peak = max(peak, limiter.running)
        try:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
        finally:
            limiter.release()

    tasks = [asyncio.create_task(hold()) for _ in range(100)]
    while not all(task.done() for task in tasks):
        chance.choice(tasks).cancel()
        await asyncio.sleep(0)
    assert peak <= 3
    assert limiter.running == 0
    assert not limiter._waiting
