"""Publishing to a real server: stored where it belongs, once, or an error."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import nats.errors
import pytest
from nats.aio.client import Client as Nats
from nats.js import JetStreamContext
from nats.js.errors import APIError, NoStreamResponseError

from model_engine_chassis import trace
from model_engine_chassis.publish import QueueFull, publish_event, publish_result, publish_task
from model_engine_chassis.topology_ensure import ensure_consumer, ensure_topology, stream_config
from model_engine_contracts.events import (
    BuildStarted,
    Event,
    TaskExpired,
    TaskSubmitted,
    new_event,
    parse_event,
)
from model_engine_contracts.topology import EVENTS, TASKS, task_consumer
from model_engine_local.servers import NatsServer
from model_engine_local.testing import eventually


def build_started() -> Event[BuildStarted]:
    return new_event(BuildStarted(endpoint_id="end_1", generation=1, environment_key="key"), source="test")


def submitted(attempt: int = 1, endpoint_id: str = "end_1", task_id: str = "task") -> Event[TaskSubmitted]:
    now = datetime.now(UTC)
    data = TaskSubmitted(
        task_id=task_id,
        endpoint_id=endpoint_id,
        owner="ada",
        attempt=attempt,
        request="{}",
        submitted_at=now,
        expires_at=now + timedelta(days=1),
        timeout_seconds=60,
    )
    return new_event(data, source="test")


async def test_an_event_is_stored_whole_with_its_id_and_trace(js: JetStreamContext):
    await ensure_topology(js)
    event = build_started()
    with trace.use(None) as context:
        ack = await publish_event(js, event)
    stored = await js.get_msg("EVENTS", ack.seq)
    assert stored.subject == "mesys.build.end_1.started.v1"
    assert parse_event(stored.data or b"") == event
    assert stored.headers is not None
    assert stored.headers["Nats-Msg-Id"] == event.id
    assert stored.headers["content-type"] == "application/json"
    assert context.trace_id in stored.headers["traceparent"]


async def test_an_event_that_is_published_again_is_stored_once(js: JetStreamContext):
    await ensure_topology(js)
    event = build_started()
    first, second = await publish_event(js, event), await publish_event(js, event)
    assert (first.duplicate, second.duplicate) == (None, True)
    assert (await js.stream_info("EVENTS")).state.messages == 1


async def test_without_the_stream_it_raises(js: JetStreamContext):
    with pytest.raises(NoStreamResponseError):
        await publish_event(js, build_started())


async def test_without_an_acknowledgement_it_raises_at_its_deadline(
    nats_server: NatsServer, nats_client: Nats, js: JetStreamContext
):
    await ensure_topology(js)
    nats_server.kill()
    with pytest.raises(nats.errors.TimeoutError):
        await publish_event(js, build_started(), timeout=0.1)


async def test_another_stream_on_the_subject_is_refused(js: JetStreamContext):
    await js.add_stream(stream_config(replace(EVENTS, name="FOREIGN")))
    with pytest.raises(APIError, match="expected stream does not match"):
        await publish_event(js, build_started())
    assert (await js.stream_info("FOREIGN")).state.messages == 0


async def test_a_full_queue_raises_and_others_are_not_affected(js: JetStreamContext):
    await js.add_stream(stream_config(replace(TASKS, max_msgs_per_subject=2)))
    await publish_task(js, submitted(task_id="one"))
    await publish_task(js, submitted(task_id="two"))
    with pytest.raises(QueueFull):
        await publish_task(js, submitted(task_id="three"))
    await publish_task(js, submitted(task_id="four", endpoint_id="end_2"))


async def test_a_terminated_task_can_be_queued_again_as_its_next_attempt(js: JetStreamContext):
    await ensure_topology(js)
    spec = task_consumer("end_1", concurrency=1, max_workers=1)
    await ensure_consumer(js, spec)
    await publish_task(js, submitted(attempt=1))
    subscription = await js.pull_subscribe_bind(spec.durable, "TASKS")
    await (await subscription.fetch(1))[0].term()

    async def stored() -> int:
        return (await js.stream_info("TASKS")).state.messages

    async def none_stored() -> bool:
        return await stored() == 0

    await eventually(none_stored)
    assert (await publish_task(js, submitted(attempt=1))).duplicate, "the server forgot the id: the guard is idle"
    assert await stored() == 0
    assert not (await publish_task(js, submitted(attempt=2))).duplicate
    assert await stored() == 1


async def test_an_expired_task_leaves_the_queue(js: JetStreamContext):
    await ensure_topology(js)
    await publish_task(js, submitted(), ttl=1)

    async def gone() -> bool:
        return (await js.stream_info("TASKS")).state.messages == 0

    assert not await gone()
    await eventually(gone)


async def test_a_result_goes_to_the_results(js: JetStreamContext):
    await ensure_topology(js)
    report = TaskExpired(task_id="task", endpoint_id="end_1", attempt=1, delivery=1, worker_id="w")
    ack = await publish_result(js, new_event(report, source="test"))
    assert ack.stream == "RESULTS"
    assert (await js.get_msg("RESULTS", ack.seq)).subject == "meresults.end_1"
