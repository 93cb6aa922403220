"""The route table follows the cache's events, and Redis where events were missed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from model_engine_chassis.nats_connection import connect
from model_engine_chassis.publish import publish_event
from model_engine_chassis.redis_connection import connect_redis
from model_engine_chassis.settings_base import NatsSettings, RedisSettings
from model_engine_chassis.topology_ensure import ensure_topology
from model_engine_contracts.documents import EndpointDocument
from model_engine_contracts.endpoint_states import EndpointType
from model_engine_contracts.events import EndpointDeleted, EndpointObserved, EndpointUpdated, ObservedWorker, new_event
from model_engine_contracts.observed import OBSERVED_COMPLETE, observed_key
from model_engine_gateway.inference import feed as feed_module
from model_engine_gateway.inference.directory import EndpointDirectory
from model_engine_gateway.inference.feed import Feed
from model_engine_gateway.inference.hold import HoldQueue
from model_engine_gateway.inference.routes import RouteTable
from model_engine_local.testing import eventually

from .conftest import endpoint_document


def observed(endpoint_id: str, counter: int, *ports: int, epoch: int = 1) -> EndpointObserved:
    workers = tuple(ObservedWorker(id=f"w{port}", revision="r", state="READY", address=f"h:{port}") for port in ports)
    return EndpointObserved(
        endpoint_id=endpoint_id, epoch=epoch, counter=counter, generation=1, replicas=len(ports), workers=workers
    )


class Running:
    """A feed on real servers, and what it feeds."""

    def __init__(self, nats: Any, redis: Redis) -> None:
        self.nats, self.redis = nats, redis
        self.documents = {"end_1": endpoint_document()}
        self.hold = HoldQueue(max_requests=9, max_bytes=9, max_total_bytes=9)
        self.routes = RouteTable(self.hold.notify)
        self.directory = EndpointDirectory(self.load)
        self.feed = Feed(nats, redis, self.routes, self.directory, self.hold)
        self.task: asyncio.Task[None]

    async def start(self) -> None:
        self.task = asyncio.create_task(self.feed.run())
        await self.feed.following.wait()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def load(self, endpoint_id: str) -> EndpointDocument | None:
        return self.documents.get(endpoint_id)

    async def store(self, value: EndpointObserved) -> None:
        await self.redis.set(observed_key(value.endpoint_id), value.model_dump_json())

    async def publish(self, data: Any, owner: str | None = None) -> None:
        await publish_event(self.nats.jetstream(), new_event(data, source="test", owner=owner))

    def ports(self, endpoint_id: str) -> set[int]:
        found = set()
        while (worker := self.routes.choose(endpoint_id, 0.0, {f"w{port}" for port in found})) is not None:
            found.add(worker.port)
        return found


@pytest.fixture
async def running(nats_settings: NatsSettings, redis_settings: RedisSettings) -> AsyncIterator[Running]:
    nats = await connect(nats_settings, "test")
    redis = connect_redis(redis_settings)
    await ensure_topology(nats.jetstream())
    running = Running(nats, redis)
    yield running
    await running.stop()
    await nats.close()
    await redis.aclose()


async def test_redis_first_then_events_and_the_newest_wins(running: Running) -> None:
    await running.store(observed("end_1", 5, 1))
    await running.store(observed("end_2", 6, 2))
    await running.redis.set(OBSERVED_COMPLETE, "1")
    await running.start()
    await eventually(lambda: running.ports("end_1") == {1} and running.ports("end_2") == {2})
    await running.publish(observed("end_1", 7, 1, 3))
    await running.publish(observed("end_2", 4, 9))
    await eventually(lambda: running.ports("end_1") == {1, 3})
    assert running.ports("end_2") == {2}


async def test_a_cache_that_is_still_writing_is_read_again(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "INCOMPLETE_SECONDS", 0.05)
    await running.redis.set(observed_key("end_odd"), "{}")
    await running.start()
    await running.store(observed("end_1", 1, 1))
    await eventually(lambda: running.ports("end_1") == {1})
    await running.redis.set(OBSERVED_COMPLETE, "1")
    await running.redis.flushall()
    await running.publish(observed("end_1", 1, 2, epoch=2))
    await eventually(lambda: running.ports("end_1") == {2})


async def test_a_change_of_an_endpoint_is_seen_at_once(running: Running) -> None:
    await running.start()
    await running.publish(observed("end_1", 1, 1))
    await eventually(lambda: running.ports("end_1") == {1})
    before = await running.directory.get("end_1")
    assert before is not None
    running.documents["end_1"] = endpoint_document(endpoint_type=EndpointType.STREAMING)
    assert await running.directory.get("end_1") is before
    updated = EndpointUpdated(endpoint_id="end_1", name="n", generation=2, changed=("x",), requested_by="ada")
    await running.publish(updated, owner="ada")

    async def endpoint_type() -> EndpointType | None:
        info = await running.directory.get("end_1")
        return info.endpoint_type if info else None

    async def is_streaming() -> bool:
        return await endpoint_type() is EndpointType.STREAMING

    await eventually(is_streaming)
    await running.publish(EndpointDeleted(endpoint_id="end_1", name="n", generation=2), owner="ada")
    await eventually(lambda: running.ports("end_1") == set())
