"""Publishing: the one way for events and the one for tasks and results. Everything names the stream that must store it.

A publish that names no stream is a core publish that nobody may store; the client's default deadline is half a second.
"""

from typing import Any

from nats.js import JetStreamContext
from nats.js.api import PubAck
from nats.js.errors import APIError

from model_engine_chassis import trace
from model_engine_contracts.events import Event, TaskSubmitted
from model_engine_contracts.subjects import result_subject, subject_of, task_subject
from model_engine_contracts.topology import EVENTS, RESULTS, TASKS

PUBLISH_SECONDS = 5.0

_MAXIMUM_MESSAGES_EXCEEDED = 10077


class QueueFull(Exception):
    """The endpoint's queue holds as many tasks as it may."""


async def publish_event(js: JetStreamContext, event: Event[Any], *, timeout: float = PUBLISH_SECONDS) -> PubAck:
    """Publish an event to the stream EVENTS; one with the same id is stored once within ten minutes.

    Raises nats.errors.Error or nats.js.errors.Error when it was not acknowledged within `timeout` seconds.
    """
    return await _publish(js, subject_of(event), event, EVENTS.name, event.id, {}, timeout)


async def publish_task(
    js: JetStreamContext, event: Event[TaskSubmitted], *, ttl: int | None = None, timeout: float = PUBLISH_SECONDS
) -> PubAck:
    """Put a task into its endpoint's queue. `ttl` in whole seconds: the server drops the task after that.

    The message id is `task:attempt`, because the id of a message that was terminated or deleted is swallowed for the
    whole deduplication window. Raises QueueFull, and otherwise as publish_event does.
    """
    data = event.data
    headers = {} if ttl is None else {"Nats-TTL": f"{max(1, ttl)}s"}
    message_id = f"{data.task_id}:{data.attempt}"
    try:
        return await _publish(js, task_subject(data.endpoint_id), event, TASKS.name, message_id, headers, timeout)
    except APIError as error:
        if error.err_code == _MAXIMUM_MESSAGES_EXCEEDED:
            raise QueueFull(data.endpoint_id) from error
        raise


async def publish_result(js: JetStreamContext, event: Event[Any], *, timeout: float = PUBLISH_SECONDS) -> PubAck:
    """Report what became of a task to the stream RESULTS. Raises as publish_event does."""
    return await _publish(js, result_subject(event.data.endpoint_id), event, RESULTS.name, event.id, {}, timeout)


async def _publish(
    js: JetStreamContext,
    subject: str,
    event: Event[Any],
    stream: str,
    message_id: str,
    headers: dict[str, str],
    timeout: float,
) -> PubAck:
    headers |= {"Nats-Msg-Id": message_id, "content-type": event.datacontenttype, **trace.outgoing_headers()}
    body = event.model_dump_json(exclude_none=True).encode()
    return await js.publish(subject, body, timeout=timeout, stream=stream, headers=headers)
