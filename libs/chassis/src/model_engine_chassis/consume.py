"""Consuming lifecycle events from durables that replicas share: FastStream, with a guard for each of its traps."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import nats.errors
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import Error as JetStreamError
from prometheus_client import Counter
from pydantic import ValidationError

from model_engine_chassis import trace
from model_engine_chassis.acknowledge import retry_later, settle, terminate
from model_engine_chassis.nats_connection import connection_options
from model_engine_chassis.retry import backoff
from model_engine_chassis.settings_base import NatsSettings
from model_engine_chassis.topology_ensure import ensure_topology
from model_engine_contracts.events import Event, parse_event
from model_engine_contracts.topology import ConsumerSpec

log = logging.getLogger(__name__)

Handler = Callable[[Event[Any]], Awaitable[None]]

FETCH_SECONDS = 2.0
RESTORE_BASE = 0.5
RESTORE_CAP = 5.0

HANDLED = Counter("modelengine_events_handled", "Lifecycle events by how their handling ended.", ["durable", "outcome"])
FAILED_FETCHES = Counter("modelengine_events_fetch_failures", "Requests for events that were refused.", ["durable"])


def create_broker(settings: NatsSettings, name: str) -> NatsBroker:
    """FastStream's broker on the one set of connection options. It stops for `drain_seconds` at most."""
    return NatsBroker(**connection_options(settings, name), graceful_timeout=settings.drain_seconds, logger=None)


def subscribe_events(broker: NatsBroker, spec: ConsumerSpec, handler: Handler, *, max_workers: int = 16) -> None:
    """Let `handler` see every event of a durable, several at a time, once `run_consumers` runs.

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
        # FastStream's own default drops a message at the first error of its handler.
        ack_policy=AckPolicy.MANUAL,
        decoder=_undecoded,
        title=spec.durable,
    )

    async def consume(body: Any, message: NatsMessage) -> None:
        await _handle(spec.durable, handler, message.raw_message)

    subscriber(consume)


async def run_consumers(broker: NatsBroker, stop: asyncio.Event) -> None:
    """Consume until `stop` is set, then let running handlers finish; one of the `serving` of `run_until`.

    Streams and durables are made first, because FastStream would make a missing durable with its own configuration,
    and again whenever they turn out to be lost.
    """
    client = await broker.connect()
    js = client.jetstream()
    try:
        await _restore(js)
        await broker.start()
        for subscriber in broker.subscribers:
            _guard(subscriber, js)
        await stop.wait()
    finally:
        try:
            await broker.stop()
        except (nats.errors.Error, OSError) as error:
            log.info("consumers stopped without their server", extra={"error": repr(error)})


async def _undecoded(message: Any) -> Any:
    """The event is read once, by its own model."""
    return message.body


async def _handle(durable: str, handler: Handler, message: Msg) -> None:
    try:
        event = parse_event(message.data)
    except ValidationError as error:
        log.error("unreadable event terminated", extra={"subject": message.subject, "error": str(error)})
        HANDLED.labels(durable, "terminated").inc()
        await settle(terminate(message, f"unreadable event: {error}"), durable)
        return
    with trace.use((message.headers or {}).get("traceparent") or event.traceparent):
        try:
            await handler(event)
        except asyncio.CancelledError:
            await settle(message.nak(), durable)
            raise
        except Exception:
            log.exception("event handling failed", extra={"event": event.id, "type": event.type})
            HANDLED.labels(durable, "retried").inc()
            await settle(retry_later(message), durable)
        else:
            HANDLED.labels(durable, "done").inc()
            await settle(message.ack(), durable)


def _guard(subscriber: Any, js: JetStreamContext) -> None:
    """Slow down the requests of a subscriber that are refused, and restore what is missing.

    FastStream repeats a refused request at once: thousands a second, for ever, when the durable is gone.
    """
    durable = subscriber.config.durable_name
    fetch = subscriber.subscription.fetch
    failures = 0

    async def guarded(batch: int, timeout: float) -> list[Msg]:
        nonlocal failures
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        try:
            messages: list[Msg] = await fetch(batch=batch, timeout=timeout)
        except (nats.errors.Error, JetStreamError) as error:
            if loop.time() < deadline - 0.1 * timeout:
                FAILED_FETCHES.labels(durable).inc()
                level = logging.DEBUG if failures else logging.WARNING
                log.log(level, "events are not delivered", extra={"durable": durable, "error": repr(error)})
                await asyncio.sleep(backoff(failures, RESTORE_BASE, RESTORE_CAP))
                failures += 1
                await _restore(js)
            raise nats.errors.TimeoutError from error
        failures = 0
        return messages

    subscriber.subscription.fetch = guarded


async def _restore(js: JetStreamContext) -> None:
    """Make the topology, however long NATS takes to answer. Raises TopologyConflict."""
    attempt = 0
    while True:
        try:
            await ensure_topology(js)
        except (nats.errors.Error, JetStreamError) as error:
            log.warning("streams and durables cannot be made", extra={"error": repr(error)})
            await asyncio.sleep(backoff(attempt, RESTORE_BASE, RESTORE_CAP))
            attempt += 1
        else:
            return
