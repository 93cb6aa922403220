"""What waits for a place in trouble, and what is dropped meanwhile."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from model_engine_cache.delivery import Delivery
from model_engine_contracts.events import EndpointObserved
from model_engine_local.testing import eventually


def observed(endpoint_id: str, counter: int) -> EndpointObserved:
    return EndpointObserved(endpoint_id=endpoint_id, epoch=1, counter=counter, generation=1, replicas=1)


async def test_only_the_latest_of_each_endpoint_is_delivered_after_a_trouble() -> None:
    delivered: list[tuple[str, int]] = []
    failures = 0
    is_down = True

    async def deliver(batch: Sequence[EndpointObserved]) -> None:
        nonlocal failures
        if is_down:
            failures += 1
            # What comes while a delivery is on its way is newer than what it brings.
            delivery.put(observed("end_1", 2))
            raise ConnectionError("down")
        delivered.extend((item.endpoint_id, item.counter) for item in batch)

    delivery = Delivery("test", deliver, (ConnectionError,))
    delivery.put(observed("end_1", 1))
    delivery.put(observed("end_2", 1))
    running = asyncio.create_task(delivery.run())
    await eventually(lambda: failures)
    delivery.put(observed("end_2", 3))
    is_down = False
    await eventually(lambda: len(delivered) == 2)
    assert sorted(delivered) == [("end_1", 2), ("end_2", 3)]
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_an_error_that_is_not_expected_ends_it() -> None:
    async def deliver(batch: Sequence[EndpointObserved]) -> None:
        raise LookupError("a defect")

    delivery = Delivery("test", deliver, (ConnectionError,))
    delivery.put(observed("end_1", 1))
    with suppress(LookupError):
        await delivery.run()
        raise AssertionError("it went on")
