"""Facts change an endpoint once: repeated, at the same time, and through two gateways."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from model_engine_contracts.envelope import EventData
from model_engine_contracts.events import (
    EndpointReleased,
    RolloutStarted,
    RolloutSucceeded,
    ScalingDecided,
    WorkerReady,
    new_event,
)
from model_engine_gateway.handlers import on_fact
from model_engine_gateway.repositories.endpoints import EndpointRepository
from model_engine_local.testing import eventually

Types = Callable[[], Awaitable[list[str]]]


@pytest.fixture
def history(client: httpx.AsyncClient, endpoint_id: str) -> Types:
    """The types of all events of the endpoint, in their order."""

    async def read() -> list[str]:
        answer = await client.get(
            f"/v1/model-endpoints/{endpoint_id}/events", params={"follow": "false"}, headers={"last-event-id": "0"}
        )
        lines = [line.removeprefix("event: modelengine.") for line in answer.text.splitlines()]
        return [line for line in lines if line.startswith("endpoint.")]

    return read


def _scaled(endpoint_id: str) -> ScalingDecided:
    return ScalingDecided(
        endpoint_id=endpoint_id, epoch=1, from_workers=1, to_workers=2, reason="busy", inputs={"waiting": 3}
    )


async def test_a_fact_that_is_handled_again_changes_nothing(platform: Any, endpoint_id: str, history: Types) -> None:
    """As after a death between the write and the acknowledgement."""
    endpoints = EndpointRepository(platform.database)
    fact = new_event(_scaled(endpoint_id), source="test")
    await asyncio.gather(*(on_fact(endpoints, fact) for _ in range(8)))
    await on_fact(endpoints, fact)
    version = (await platform.database["endpoints"].find_one({"_id": endpoint_id}))["version"]

    assert version == 2
    await eventually(lambda: _equals(history, ["endpoint.requested.v1", "endpoint.scaled.v1"]))


async def test_facts_at_the_same_time_all_count(platform: Any, endpoint_id: str, history: Types) -> None:
    endpoints = EndpointRepository(platform.database)
    facts: list[EventData] = [WorkerReady(endpoint_id=endpoint_id, worker_id=f"w{n}", revision="r") for n in range(10)]
    rollout = {"endpoint_id": endpoint_id, "generation": 1, "revision": "r"}
    facts += [RolloutSucceeded(**rollout), RolloutStarted(**rollout), _scaled(endpoint_id)]
    await asyncio.gather(*(on_fact(endpoints, new_event(fact, source="test")) for fact in facts))

    document = await endpoints.find(endpoint_id)
    assert document is not None
    assert (document.status.phase, document.status.serving_generation) == ("READY", 1)

    async def complete() -> bool:
        told = await history()
        return told.count("endpoint.worker-ready.v1") == 10 and told.count("endpoint.scaled.v1") == 1

    await eventually(complete)


async def test_two_gateways_share_the_facts(
    start: Callable[..., Awaitable[Any]], platform: Any, endpoint_id: str, history: Types
) -> None:
    await start()
    await asyncio.gather(*(platform.say(_scaled(endpoint_id)) for _ in range(30)))

    async def complete() -> bool:
        return (await history()).count("endpoint.scaled.v1") == 30

    await eventually(complete)


async def test_facts_of_unknown_endpoints_are_dropped(platform: Any, endpoint_id: str, history: Types) -> None:
    endpoints = EndpointRepository(platform.database)
    await on_fact(endpoints, new_event(_scaled("end_unknown"), source="test"))
    await on_fact(endpoints, new_event(EndpointReleased(endpoint_id=endpoint_id, generation=1), source="test"))
    await eventually(lambda: _equals(history, ["endpoint.requested.v1"]))


async def _equals(history: Types, expected: list[str]) -> bool:
    return await history() == expected
