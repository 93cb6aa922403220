"""Consuming lifecycle events: FastStream with every guard for shared durables, an ordered consumer for followers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import nats.errors
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import Error as JetStreamError
from prometheus_client import Counter
from pydantic import ValidationError

from model_engine_chassis import trace
from model_engine_chassis.nats_connection import connection_options
from model_engine_chassis.retry import backoff
from model_engine_chassis.settings_base import NatsSettings
from model_engine_contracts.events import Event, parse_event
from model_engine_contracts.topology import EVENTS, ConsumerSpec

log = logging.getLogger(__name__)

Handler = Callable[[Event[Any]], Awaitable[None]]

RETRY_BASE = 0.5
RETRY_CAP = 60.0
FETCH_SECONDS = 5.0

HANDLED = Counter("modelengine_events_handled", "Lifecycle events by how their handling ended.", ["durable", "outcome"])


def create_broker(settings: NatsSettings, name: str) -> NatsBroker:
    """FastStream's broker on the one set of connection options."""
    return NatsBroker(**connection_options(settings, name), logger=None)


def subscribe_events(broker: NatsBroker, spec: ConsumerSpec, handler: Handler, *, max_workers: int = 16) -> None:
    """Let `handler` see every event of a durable that exists already, several at a time.

    A handler must be idempotent. When it raises, the event comes again after 0.5·2ⁿ seconds (with jitter, a minute at
    most) until the durable's `max_deliver`; an event that cannot be read is terminated. Both then are dead letters.
    """
    subscriber = broker.subscriber(
        spec.subjects[0],
        durable=spec.durable,
        stream=JStream(spec.stream, declare=False),
        # One message per request: with larger batches an idle consumer stalls, and a slow handler blocks its batch.
        pull_sub=PullSub(batch_size=1, timeout=FETCH_SECONDS),
        max_workers=max_workers,
        ack_policy=AckPolicy.MANUAL,
        decoder=_undecoded,
        title=spec.durable,
    )

    async def consume(body: Any, message: NatsMessage) -> None:
        await _handle(spec.durable, handler, message.raw_message)

    subscriber(consume)


async def _undecoded(message: Any) -> Any:
    """The event is read once, by its own model."""
    return message.body


async def _handle(durable: str, handler: Handler, message: Any) -> None:
    try:
        event = parse_event(message.data)
    except ValidationError as error:
        log.error("unreadable event rejected", extra={"subject": message.subject, "error": str(error)})
        HANDLED.labels(durable, "rejected").inc()
        await message.term()
        return
    with trace.use((message.headers or {}).get("traceparent") or event.traceparent):
        try:
            await handler(event)
        except Exception:
            deliveries = message.metadata.num_delivered
            delay = RETRY_BASE * 2 ** min(deliveries - 1, 20)
            delay = min(RETRY_CAP, delay) + backoff(0, RETRY_BASE / 2)
            log.exception("event handling failed", extra={"event": event.id, "type": event.type, "retry_in": delay})
            HANDLED.labels(durable, "retried").inc()
            # A plain nak would come back at once: the server's own backoff applies to lost acknowledgements only.
            await message.nak(delay=delay)
        else:
            HANDLED.labels(durable, "handled").inc()
            await message.ack()


async def follow_events(
    nats_client: Nats,
    *,
    subjects: Sequence[str],
    handler: Handler,
    stop: asyncio.Event,
    started: asyncio.Event | None = None,
    start: Literal["new", "all"] = "new",
) -> None:
    """Let `handler` see every event of `subjects` in this very process, in order, until `stop` is set.

    An ordered consumer: it is the process's own, makes itself anew after a gap or a restart of the server, and goes on
    where it was. `started` is set when the consumer exists, so that a reader who needs no gap can read the state after.
    After the loss of the stream's data it starts again with what is new. Errors of `handler` are logged and skipped.
    """
    policy = DeliverPolicy.NEW if start == "new" else DeliverPolicy.ALL
    attempt = 0
    while not stop.is_set():
        try:
            subscription = await nats_client.jetstream().subscribe(
                subjects[0] if len(subjects) == 1 else "",
                stream=EVENTS.name,
                ordered_consumer=True,
                config=ConsumerConfig(
                    deliver_policy=policy, filter_subjects=list(subjects) if len(subjects) > 1 else None
                ),
            )
        except (nats.errors.Error, JetStreamError, TimeoutError) as error:
            log.warning("event stream not readable", extra={"subjects": list(subjects), "error": repr(error)})
            await asyncio.sleep(backoff(attempt, 0.2, 5.0))
            attempt += 1
            continue
        attempt = 0
        if started is not None:
            started.set()
        try:
            await _follow(subscription, handler, stop)
        finally:
            await subscription.unsubscribe()


async def _follow(subscription: Any, handler: Handler, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            message: Msg = await subscription.next_msg(timeout=1.0)
        except (nats.errors.TimeoutError, TimeoutError):
            continue
        except (nats.errors.Error, JetStreamError):
            return
        try:
            event = parse_event(message.data)
        except ValidationError as error:
            log.error("unreadable event skipped", extra={"subject": message.subject, "error": str(error)})
            continue
        with trace.use((message.headers or {}).get("traceparent") or event.traceparent):
            try:
                await handler(event)
            except Exception:
                log.exception("event handling failed", extra={"event": event.id, "type": event.type})
