"""The topology on a real server: made once, by any number of processes, repaired, never narrowed."""

import asyncio
from dataclasses import replace

import pytest
from nats.aio.client import Client as Nats
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StreamConfig
from nats.js.errors import NotFoundError

from model_engine_chassis.nats_connection import connect
from model_engine_chassis.settings_base import NatsSettings
from model_engine_chassis.topology_ensure import (
    TopologyConflict,
    delete_consumer,
    ensure_consumer,
    ensure_topology,
    stream_changes,
    stream_config,
)
from model_engine_contracts.topology import EVENTS, GATEWAY_STATUS, SERVICE_CONSUMERS, STREAMS, TASKS, task_consumer


async def test_every_stream_and_durable_is_as_the_topology_says(js: JetStreamContext):
    await ensure_topology(js)
    for spec in STREAMS:
        live = (await js.stream_info(spec.name)).config
        assert stream_changes(stream_config(spec), live) == {}
        assert (live.retention, live.storage, live.max_consumers) == (spec.retention, "file", spec.max_consumers)
    for consumer in SERVICE_CONSUMERS:
        durable = (await js.consumer_info(consumer.stream, consumer.durable)).config
        assert (durable.max_deliver, durable.ack_wait) == (consumer.max_deliver, consumer.ack_wait)
        assert tuple(durable.filter_subjects or [durable.filter_subject]) == consumer.subjects


async def test_repeating_it_changes_and_loses_nothing(js: JetStreamContext):
    await ensure_topology(js)
    await js.publish("mesys.kept", b"", stream="EVENTS")
    before = [await js.stream_info(spec.name) for spec in STREAMS]
    await ensure_topology(js)
    after = [await js.stream_info(spec.name) for spec in STREAMS]
    assert [info.config for info in after] == [info.config for info in before]
    assert [info.created for info in after] == [info.created for info in before]
    assert (await js.stream_info("EVENTS")).state.messages == 1


async def test_many_processes_may_do_it_at_once(nats_settings: NatsSettings):
    clients = [await connect(nats_settings, f"service-{number}") for number in range(6)]
    try:
        await asyncio.gather(*(ensure_topology(client.jetstream()) for client in clients))
        assert len(await clients[0].jetstream().streams_info()) == len(STREAMS)
    finally:
        for client in clients:
            await client.close()


async def test_two_releases_at_once_agree_on_the_wider_one(nats_client: Nats, js: JetStreamContext):
    older = stream_config(replace(EVENTS, max_bytes=EVENTS.max_bytes // 2))
    await asyncio.gather(ensure_topology(js), js.add_stream(older), return_exceptions=True)
    await ensure_topology(js)
    assert (await js.stream_info("EVENTS")).config.max_bytes == EVENTS.max_bytes


async def test_a_stream_that_another_hand_changed_is_repaired_but_its_wider_limits_stay(js: JetStreamContext):
    await ensure_topology(js)
    live = (await js.stream_info("EVENTS")).config
    await js.update_stream(
        live.evolve(subjects=["me.>"], max_bytes=2 * EVENTS.max_bytes, max_age=86_400.0, duplicate_window=60.0)
    )
    await ensure_topology(js)
    repaired = (await js.stream_info("EVENTS")).config
    assert set(repaired.subjects or ()) == set(EVENTS.subjects)
    assert repaired.max_bytes == 2 * EVENTS.max_bytes
    assert repaired.max_age == EVENTS.max_age
    assert repaired.duplicate_window == EVENTS.duplicate_window


@pytest.mark.parametrize(
    ("live", "changes"),
    [
        ({"max_bytes": -1}, {}),
        ({"max_bytes": EVENTS.max_bytes + 1}, {}),
        ({"max_bytes": EVENTS.max_bytes - 1}, {"max_bytes": EVENTS.max_bytes}),
        ({"max_msgs_per_subject": 5}, {"max_msgs_per_subject": -1}),
        ({"max_age": 0.0}, {}),
    ],
)
def test_limits_are_widened_only(live: dict[str, float], changes: dict[str, float]):
    wanted = stream_config(EVENTS)
    assert stream_changes(wanted, wanted.evolve(**live)) == changes


async def test_a_stream_of_another_kind_is_an_error_that_names_it(js: JetStreamContext):
    await js.add_stream(StreamConfig(name="TASKS", subjects=["metasks.*"], retention=RetentionPolicy.LIMITS))
    with pytest.raises(TopologyConflict, match="stream TASKS has retention 'limits'"):
        await ensure_topology(js)


async def test_a_durable_is_brought_up_to_date_and_remembers_what_it_delivered(js: JetStreamContext):
    await js.add_stream(stream_config(EVENTS))
    await ensure_consumer(js, replace(GATEWAY_STATUS, max_deliver=3, ack_wait=5.0))
    await js.publish("mesys.first", b"", stream="EVENTS")
    subscription = await js.pull_subscribe_bind(GATEWAY_STATUS.durable, "EVENTS")
    await (await subscription.fetch(1))[0].ack_sync()

    await ensure_topology(js)
    info = await js.consumer_info("EVENTS", GATEWAY_STATUS.durable)
    assert (info.config.max_deliver, info.config.ack_wait) == (GATEWAY_STATUS.max_deliver, GATEWAY_STATUS.ack_wait)
    assert info.num_pending == 0


async def test_the_durable_of_an_endpoint_is_made_updated_and_deleted(js: JetStreamContext):
    await js.add_stream(stream_config(TASKS))
    await ensure_consumer(js, task_consumer("end_1", concurrency=4, max_workers=2))
    await ensure_consumer(js, task_consumer("end_1", concurrency=50, max_workers=2))
    spec = task_consumer("end_1", concurrency=50, max_workers=2)
    assert (await js.consumer_info("TASKS", spec.durable)).config.max_ack_pending == spec.max_ack_pending == 200
    await delete_consumer(js, "TASKS", spec.durable)
    await delete_consumer(js, "TASKS", spec.durable)
    with pytest.raises(NotFoundError):
        await js.consumer_info("TASKS", spec.durable)
