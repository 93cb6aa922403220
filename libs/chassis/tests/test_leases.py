"""Leases: one holder, a rising epoch, and no work by a leader that lost."""

import asyncio
from typing import Any

from model_engine_chassis.leases import LEASES, Lease, LeaseStore, lead
from model_engine_local.testing import eventually


async def test_one_holder_at_a_time(mongo_db: Any) -> None:
    store = LeaseStore(mongo_db)
    first = await store.acquire("x", "one", 30.0)
    assert first == Lease("x", "one", 1, 30.0)
    assert await store.acquire("x", "two", 30.0) is None


async def test_a_holder_that_was_started_again_takes_its_lease_at_once_and_fences_its_former_self(
    mongo_db: Any,
) -> None:
    store = LeaseStore(mongo_db)
    former = await store.acquire("x", "one", 30.0)
    assert former is not None
    assert await store.acquire("x", "one", 30.0) == Lease("x", "one", 2, 30.0)
    assert not await store.renew(former)


async def test_a_former_holder_cannot_release_the_lease_of_the_next(mongo_db: Any) -> None:
    store = LeaseStore(mongo_db)
    former = await store.acquire("x", "one", 30.0)
    assert former is not None
    await store.acquire("x", "one", 30.0)
    await store.release(former)
    assert await store.acquire("x", "two", 30.0) is None


async def test_a_released_or_expired_lease_goes_to_the_next_with_a_higher_epoch(mongo_db: Any) -> None:
    store = LeaseStore(mongo_db)
    first = await store.acquire("x", "one", 30.0)
    assert first is not None
    await store.release(first)
    second = await store.acquire("x", "two", 0.001)
    assert second is not None
    assert second.epoch == 2
    third = await eventually(lambda: store.acquire("x", "three", 30.0))
    assert third.epoch == 3
    assert not await store.renew(second), "the old holder learns that it lost"
    assert await store.renew(third)


async def test_an_expired_lease_cannot_be_renewed_even_when_nobody_took_it(mongo_db: Any) -> None:
    store = LeaseStore(mongo_db)
    lease = await store.acquire("x", "one", 0.001)
    assert lease is not None
    await eventually(lambda: _expired(mongo_db))
    assert not await store.renew(lease)
    again = await store.acquire("x", "one", 30.0)
    assert again is not None
    assert again.epoch == 2


async def _expired(database: Any) -> bool:
    return bool(await database[LEASES].find_one({"_id": "x", "$expr": {"$lt": ["$expires_at", "$$NOW"]}}))


async def test_many_contenders_get_one_holder(mongo_db: Any) -> None:
    store = LeaseStore(mongo_db)
    leases = await asyncio.gather(*(store.acquire("x", f"holder-{number}", 30.0) for number in range(20)))
    assert sum(lease is not None for lease in leases) == 1


async def test_one_lease_per_endpoint_lets_two_processes_share_the_work(mongo_db: Any) -> None:
    store = LeaseStore(mongo_db)
    names = [f"endpoint:end_{number}" for number in range(50)]

    async def work(holder: str) -> list[str]:
        mine: list[str] = []
        for name in names if holder == "one" else reversed(names):
            if (lease := await store.acquire(name, holder, 30.0)) is not None:
                mine.append(name)
                assert await store.renew(lease)
        return mine

    ones, twos = await asyncio.gather(work("one"), work("two"))
    assert sorted(ones + twos) == sorted(names), "each endpoint has exactly one holder"


async def test_a_leader_whose_lease_is_taken_stops_its_work(mongo_db: Any) -> None:
    store, stop = LeaseStore(mongo_db), asyncio.Event()
    running: list[int] = []

    async def body(lease: Lease) -> None:
        running.append(lease.epoch)
        try:
            await asyncio.Event().wait()
        finally:
            running.remove(lease.epoch)

    leading = asyncio.create_task(lead(store, "x", "one", 0.3, body, stop))
    await eventually(lambda: running == [1])
    await mongo_db[LEASES].update_one({"_id": "x"}, {"$set": {"holder": "thief"}, "$inc": {"epoch": 1}})
    await eventually(lambda: running == [])
    stop.set()
    await leading


async def test_the_standby_takes_over_when_the_leader_stops(mongo_db: Any) -> None:
    store = LeaseStore(mongo_db)
    stops = asyncio.Event(), asyncio.Event()
    led: list[str] = []

    def body_of(name: str) -> Any:
        async def body(_: Lease) -> None:
            led.append(name)
            await asyncio.Event().wait()

        return body

    first = asyncio.create_task(lead(store, "x", "one", 1.0, body_of("one"), stops[0]))
    await eventually(lambda: led == ["one"])
    second = asyncio.create_task(lead(store, "x", "two", 1.0, body_of("two"), stops[1]))
    stops[0].set()
    await first
    await eventually(lambda: led == ["one", "two"])
    stops[1].set()
    await second


async def test_a_leader_that_is_cancelled_gives_the_lease_back(mongo_db: Any) -> None:
    store = LeaseStore(mongo_db)
    started = asyncio.Event()

    async def body(_: Lease) -> None:
        started.set()
        await asyncio.Event().wait()

    leading = asyncio.create_task(lead(store, "x", "one", 30.0, body, asyncio.Event()))
    await started.wait()
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)
    assert await store.acquire("x", "two", 30.0) is not None


async def test_an_error_of_the_leaders_work_releases_the_lease(mongo_db: Any) -> None:
    store, stop = LeaseStore(mongo_db), asyncio.Event()
    epochs: list[int] = []

    async def body(lease: Lease) -> None:
        epochs.append(lease.epoch)
        if len(epochs) == 1:
            raise RuntimeError("boom")
        await asyncio.Event().wait()

    leading = asyncio.create_task(lead(store, "x", "one", 5.0, body, stop))
    await eventually(lambda: epochs == [1, 2])
    stop.set()
    await leading
