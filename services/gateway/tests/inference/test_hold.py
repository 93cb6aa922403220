"""The hold queue: bounded, and no change is missed."""

import asyncio

import pytest

from model_engine_gateway.inference.hold import HoldClosed, HoldFull, HoldQueue


def queue(requests: int = 2, size: int = 100, total: int = 150) -> HoldQueue:
    return HoldQueue(max_requests=requests, max_bytes=size, max_total_bytes=total)


def test_it_is_bounded_in_requests_and_bytes_and_places_are_given_back() -> None:
    hold = queue()
    with hold.place("a", 60):
        with pytest.raises(HoldFull), hold.place("a", 60):
            pass
        with hold.place("a", 40), pytest.raises(HoldFull), hold.place("a", 0):
            pass
        with pytest.raises(HoldFull), hold.place("b", 100):
            pass
        assert hold.waiting() == {"a": 1}
    assert hold.waiting() == {}
    with hold.place("b", 100):
        pass


async def test_a_change_between_two_waits_is_seen() -> None:
    hold = queue()
    with hold.place("a", 1) as place:
        hold.notify("a")
        async with asyncio.timeout(1):
            await place.changed(60)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await place.changed(60)


async def test_a_notification_wakes_all_and_only_of_that_endpoint() -> None:
    hold = queue(requests=10)
    woken: list[str] = []

    async def wait(endpoint_id: str) -> None:
        with hold.place(endpoint_id, 1) as place:
            await place.changed(60)
            woken.append(endpoint_id)

    async with asyncio.TaskGroup() as tasks:
        waits = [tasks.create_task(wait(endpoint_id)) for endpoint_id in ("a", "a", "b")]
        await asyncio.sleep(0)
        hold.notify("a")
        await asyncio.gather(*waits[:2])
        assert woken == ["a", "a"]
        hold.notify("b")


async def test_closing_sends_everybody_away() -> None:
    hold = queue()

    async def wait() -> None:
        with hold.place("a", 1) as place:
            await place.changed(60)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    hold.close()
    with pytest.raises(HoldClosed):
        await waiting
    with pytest.raises(HoldClosed), hold.place("a", 1):
        pass
