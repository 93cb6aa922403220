"""Following events on a real server: in order, without gaps, through restarts and the loss of the store."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
from nats.aio.client import Client as Nats
from nats.js import JetStreamContext

from model_engine_chassis import follow
from model_engine_chassis.follow import follow_events
from model_engine_chassis.publish import publish_event
from model_engine_chassis.topology_ensure import ensure_topology
from model_engine_contracts.events import BuildStarted, BuildSucceeded, Event, new_event
from model_engine_contracts.subjects import facts
from model_engine_local.servers import NatsServer
from model_engine_local.testing import eventually


def started(generation: int) -> Event[BuildStarted]:
    return new_event(BuildStarted(endpoint_id="end_1", generation=generation, environment_key="key"), source="test")


@asynccontextmanager
async def following(client: Nats, start: Literal["new", "all"] = "new", fail: int = 0) -> AsyncIterator[list[int]]:
    """The generations that a follower sees inside the block; its handler fails at generation `fail`."""
    seen: list[int] = []
    stop, ready = asyncio.Event(), asyncio.Event()

    async def handler(event: Event[Any]) -> None:
        seen.append(event.data.generation)
        if event.data.generation == fail:
            raise RuntimeError("handler")

    task = asyncio.create_task(
        follow_events(
            client, subjects=[facts("build", "started")], handler=handler, stop=stop, started=ready, start=start
        )
    )
    await asyncio.wait_for(ready.wait(), 10)
    try:
        yield seen
    finally:
        stop.set()
        await task


async def test_it_sees_what_is_new_or_all_in_order(nats_client: Nats, js: JetStreamContext):
    await ensure_topology(js)
    await publish_event(js, started(1))
    async with following(nats_client) as new, following(nats_client, "all") as everything:
        other = BuildSucceeded(endpoint_id="end_1", generation=9, environment_key="key")
        await publish_event(js, new_event(other, source="test"))
        for generation in range(2, 50):
            await publish_event(js, started(generation))
        await eventually(lambda: len(everything) >= 49)
        await eventually(lambda: len(new) >= 48)
    assert everything == list(range(1, 50))
    assert new == list(range(2, 50))


async def test_an_unreadable_event_and_a_failing_handler_are_passed(nats_client: Nats, js: JetStreamContext):
    await ensure_topology(js)
    async with following(nats_client, fail=1) as seen:
        await publish_event(js, started(1))
        await js.publish("mesys.build.end_1.started.v1", b"{}", stream="EVENTS")
        await publish_event(js, started(2))
        await eventually(lambda: seen == [1, 2])


async def test_nothing_is_missed_or_repeated_over_a_restart_of_the_server(
    nats_server: NatsServer, nats_client: Nats, js: JetStreamContext
):
    await ensure_topology(js)
    async with following(nats_client) as seen:
        await publish_event(js, started(1))
        await eventually(lambda: seen == [1])
        nats_server.kill()
        await eventually(lambda: not nats_client.is_connected)
        nats_server.start()
        await eventually(lambda: nats_client.is_connected)
        await publish_event(js, started(2))
        await publish_event(js, started(3))
        await eventually(lambda: seen == [1, 2, 3])


async def test_the_events_of_a_stream_that_was_lost_and_made_again_are_seen_from_its_first(
    nats_server: NatsServer, nats_client: Nats, js: JetStreamContext
):
    await ensure_topology(js)
    async with following(nats_client) as seen:
        for generation in range(1, 6):
            await publish_event(js, started(generation))
        await eventually(lambda: len(seen) == 5)
        nats_server.kill()
        await eventually(lambda: not nats_client.is_connected)
        shutil.rmtree(nats_server.store_dir)
        nats_server.start()
        await eventually(lambda: nats_client.is_connected)
        await ensure_topology(js)
        await publish_event(js, started(6))
        await eventually(lambda: seen == [1, 2, 3, 4, 5, 6])


async def test_a_lost_consumer_is_noticed_by_its_missing_heartbeats(
    nats_client: Nats, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(follow, "HEARTBEAT_SECONDS", 0.2)
    await ensure_topology(js)
    known = {consumer.name for consumer in await js.consumers_info("EVENTS")}
    async with following(nats_client) as seen:
        (ephemeral,) = {consumer.name for consumer in await js.consumers_info("EVENTS")} - known
        await js.delete_consumer("EVENTS", ephemeral)
        await publish_event(js, started(1))
        await eventually(lambda: seen == [1])
