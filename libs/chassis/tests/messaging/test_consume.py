"""Lifecycle events through FastStream against a real server: a test for each of its traps."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from faststream import AckPolicy
from nats.aio.client import Client as Nats
from nats.js import JetStreamContext
from nats.js.errors import Error as JetStreamError
from prometheus_client import REGISTRY

from model_engine_chassis import trace
from model_engine_chassis.consume import create_broker, run_consumers, subscribe_events
from model_engine_chassis.publish import publish_event
from model_engine_chassis.settings_base import NatsSettings
from model_engine_chassis.topology_ensure import ensure_consumer, ensure_topology
from model_engine_contracts.events import BuildStarted, BuildSucceeded, Event, new_event
from model_engine_contracts.subjects import facts
from model_engine_contracts.topology import GATEWAY_STATUS, ConsumerSpec
from model_engine_local.servers import NatsServer
from model_engine_local.testing import eventually

Consuming = Callable[[Callable[[Event[Any]], Awaitable[None]]], Any]


@pytest.fixture
def consuming(nats_settings: NatsSettings, js: JetStreamContext) -> Consuming:
    """A service that consumes facts inside the block and has drained after it."""

    @asynccontextmanager
    async def run(handler: Callable[[Event[Any]], Awaitable[None]]) -> AsyncIterator[None]:
        broker = create_broker(nats_settings, "service")
        subscribe_events(broker, GATEWAY_STATUS, handler)
        stop = asyncio.Event()
        task = asyncio.create_task(run_consumers(broker, stop))

        async def waits_for_events() -> bool:
            try:
                return (await js.consumer_info(GATEWAY_STATUS.stream, GATEWAY_STATUS.durable)).num_waiting > 0
            except JetStreamError:
                return False

        await eventually(waits_for_events)
        try:
            yield
        finally:
            stop.set()
            await task

    return run


def fact(generation: int = 1) -> Event[BuildStarted]:
    return new_event(BuildStarted(endpoint_id="end_1", generation=generation, environment_key="key"), source="test")


class Recorder:
    """A handler that records generations; those in `failing` fail as often as it says."""

    def __init__(self, **failing: int) -> None:
        self.generations: list[int] = []
        self.times: list[float] = []
        self.failing = {int(name.removeprefix("g")): count for name, count in failing.items()}

    async def __call__(self, event: Event[Any]) -> None:
        self.generations.append(event.data.generation)
        self.times.append(asyncio.get_running_loop().time())
        if self.failing.get(event.data.generation, 0) > 0:
            self.failing[event.data.generation] -= 1
            raise RuntimeError("the database is away")


async def settled(js: JetStreamContext) -> bool:
    info = await js.consumer_info(GATEWAY_STATUS.stream, GATEWAY_STATUS.durable)
    return info.num_pending == 0 and info.num_ack_pending == 0


async def test_an_event_whose_handler_fails_comes_again_later(js: JetStreamContext, consuming: Consuming):
    handler = Recorder(g1=2)
    async with consuming(handler):
        await publish_event(js, fact(1))
        await eventually(lambda: handler.generations == [1, 1, 1])
        await eventually(lambda: settled(js))
    assert handler.times[1] - handler.times[0] >= 0.5
    assert handler.times[2] - handler.times[1] >= 1.0


async def test_an_unreadable_event_becomes_a_dead_letter_at_once(js: JetStreamContext, consuming: Consuming):
    handler = Recorder()
    async with consuming(handler):
        await js.publish("mesys.build.end_1.started.v1", b'{"type": "modelengine.build.started.v1"}', stream="EVENTS")
        await publish_event(js, fact(2))

        async def dead_letters() -> int:
            return (await js.stream_info("DLQ")).state.messages

        await eventually(dead_letters)
        await eventually(lambda: settled(js))
    advisory = (await js.get_msg("DLQ", 1)).data or b""
    assert b"unreadable event" in advisory
    assert b'"deliveries":1' in advisory
    assert handler.generations == [2]


async def test_a_slow_handler_does_not_hold_up_other_events(js: JetStreamContext, consuming: Consuming):
    gate, seen = asyncio.Event(), set()

    async def handler(event: Event[Any]) -> None:
        if event.data.generation == 1:
            await gate.wait()
        seen.add(event.data.generation)

    async with consuming(handler):
        for generation in range(1, 12):
            await publish_event(js, fact(generation))
        await eventually(lambda: seen == set(range(2, 12)))
        gate.set()
        await eventually(lambda: 1 in seen)


def test_requests_are_for_one_message_and_errors_do_not_acknowledge(nats_settings: NatsSettings):
    """With larger requests an idle consumer stalls for a second; FastStream's default policy drops failed messages."""
    broker = create_broker(nats_settings, "service")
    subscribe_events(broker, GATEWAY_STATUS, Recorder())
    subscriber: Any = broker.subscribers[0]
    assert subscriber.pull_sub.batch_size == 1
    assert subscriber.max_workers == 16
    assert subscriber.stream.declare is False
    assert subscriber.ack_policy is AckPolicy.MANUAL


async def test_a_service_that_starts_leaves_the_streams_as_they_are(js: JetStreamContext, consuming: Consuming):
    await ensure_topology(js)
    live = (await js.stream_info("EVENTS")).config
    raised = (await js.update_stream(live.evolve(max_bytes=2 * live.max_bytes))).config
    async with consuming(Recorder()):
        assert (await js.stream_info("EVENTS")).config == raised


async def test_a_durable_of_several_subjects_delivers_them_all(js: JetStreamContext, nats_settings: NatsSettings):
    subjects = tuple(facts("build", verb) for verb in ("started", "succeeded"))
    spec = ConsumerSpec("EVENTS", "several", subjects)
    await ensure_topology(js)
    await ensure_consumer(js, spec)
    handler, stop = Recorder(), asyncio.Event()
    broker = create_broker(nats_settings, "service")
    subscribe_events(broker, spec, handler)
    task = asyncio.create_task(run_consumers(broker, stop))
    succeeded = BuildSucceeded(endpoint_id="end_1", generation=2, environment_key="key")
    await publish_event(js, fact(1))
    await publish_event(js, new_event(succeeded, source="test"))
    await eventually(lambda: sorted(handler.generations) == [1, 2])
    stop.set()
    await task


async def test_a_deleted_durable_is_made_again_without_a_hot_loop(
    js: JetStreamContext, nats_client: Nats, consuming: Consuming
):
    handler = Recorder()
    async with consuming(handler):
        await publish_event(js, fact(1))
        await eventually(lambda: handler.generations == [1])
        before = failed_fetches()
        await js.delete_consumer(GATEWAY_STATUS.stream, GATEWAY_STATUS.durable)
        await publish_event(js, fact(2))
        await eventually(lambda: 2 in handler.generations)
        info = await js.consumer_info(GATEWAY_STATUS.stream, GATEWAY_STATUS.durable)
    assert info.config.max_deliver == GATEWAY_STATUS.max_deliver
    # The request that was waiting, or it and the one after; without the guard there are thousands.
    assert 1 <= failed_fetches() - before <= 3


def failed_fetches() -> float:
    labels = {"durable": GATEWAY_STATUS.durable}
    return REGISTRY.get_sample_value("modelengine_events_fetch_failures_total", labels) or 0.0


async def test_after_the_loss_of_the_store_events_flow_again(
    nats_server: NatsServer, nats_client: Nats, js: JetStreamContext, consuming: Consuming
):
    handler = Recorder()
    async with consuming(handler):
        await publish_event(js, fact(1))
        await eventually(lambda: handler.generations == [1])
        nats_server.kill()
        await eventually(lambda: not nats_client.is_connected)
        shutil.rmtree(nats_server.store_dir)
        nats_server.start()

        async def published() -> bool:
            try:
                await publish_event(js, fact(2), timeout=0.2)
            except (JetStreamError, TimeoutError):
                return False
            return True

        await eventually(published, timeout=20)
        await eventually(lambda: 2 in handler.generations)


async def test_a_running_handler_finishes_when_the_service_stops(js: JetStreamContext, consuming: Consuming):
    running, gate, finished = asyncio.Event(), asyncio.Event(), False

    async def handler(event: Event[Any]) -> None:
        nonlocal finished
        running.set()
        await gate.wait()
        finished = True

    async with consuming(handler):
        await publish_event(js, fact(1))
        await eventually(running.is_set)
        asyncio.get_running_loop().call_later(0.05, gate.set)
    assert finished
    assert await settled(js)


async def test_the_handler_runs_in_the_trace_of_its_event(js: JetStreamContext, consuming: Consuming):
    seen: list[trace.TraceContext | None] = []

    async def handler(event: Event[Any]) -> None:
        seen.append(trace.current())

    async with consuming(handler):
        with trace.use(None) as context:
            await publish_event(js, fact(1))
        await eventually(lambda: seen)
    assert seen[0] is not None
    assert seen[0].trace_id == context.trace_id
