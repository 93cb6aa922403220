"""Following events in this very process, in order: what feeds a table in memory.

A durable shared by replicas would tell each event to one of them only. The client's own ordered consumer resumes at a
sequence that a rebuilt stream has not reached yet, and so sleeps through all that happens until then.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import nats.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import Error as JetStreamError
from pydantic import ValidationError

from model_engine_chassis import trace
from model_engine_chassis.lifecycle import run_until
from model_engine_chassis.retry import backoff
from model_engine_contracts.events import Event, parse_event
from model_engine_contracts.topology import EVENTS

log = logging.getLogger(__name__)

Handler = Callable[[Event[Any]], Awaitable[None]]

HEARTBEAT_SECONDS = 2.0
WATCH_SECONDS = 0.25
FORGOTTEN_AFTER_SECONDS = 30.0
RETRY_CAP = 5.0


async def follow_events(
    nats_client: Nats,
    *,
    subjects: Sequence[str],
    handler: Handler,
    stop: asyncio.Event,
    started: asyncio.Event | None = None,
    start: Literal["new", "all"] = "new",
) -> None:
    """Let `handler` see every event of `subjects`, one after the other, until `stop` is set.

    It heals by itself and goes on where it was: after a gap, a lost connection, a restart of the server. When the
    stream was lost and made again, all that it holds is new and is seen. `started` is set once nothing can be missed
    any more, so that whoever reads the state after it has no gap. Errors of `handler` are logged, the event is passed.
    A connection that was closed for good ends it with ConnectionClosedError in an exception group.
    """
    follower = _Follower(nats_client, tuple(subjects), handler, start, started or asyncio.Event())
    await run_until(stop, follower.run())


@dataclass(slots=True)
class _Follower:
    nats: Nats
    subjects: tuple[str, ...]
    handler: Handler
    start: Literal["new", "all"]
    started: asyncio.Event
    last: int | None = None
    """The stream sequence up to which everything was seen; None before the first consumer was made."""
    stream_made: object = None
    failures: int = 0

    async def run(self) -> None:
        while True:
            if self.nats.is_closed:
                raise nats.errors.ConnectionClosedError
            inbox = self.nats.new_inbox()
            subscription = await self.nats.subscribe(inbox)
            try:
                await self._make_consumer(inbox)
                self.started.set()
                await self._receive(subscription)
            except (nats.errors.Error, JetStreamError, TimeoutError) as error:
                level = logging.DEBUG if self.failures else logging.WARNING
                log.log(level, "events cannot be followed: %r", error, extra={"subjects": list(self.subjects)})
                self.failures += 1
            finally:
                await _unsubscribe(subscription)
            await asyncio.sleep(backoff(self.failures, 0.1, RETRY_CAP))

    async def _make_consumer(self, inbox: str) -> None:
        js = self.nats.jetstream()
        info = await js.stream_info(EVENTS.name)
        if self.last is None:
            self.last = info.state.last_seq if self.start == "new" else 0
        elif info.created != self.stream_made:
            self.last = 0
        else:
            # After a crash of its machine the stream may end before what was delivered.
            self.last = min(self.last, info.state.last_seq)
        self.stream_made = info.created
        await js.add_consumer(
            EVENTS.name,
            ConsumerConfig(
                deliver_subject=inbox,
                filter_subjects=list(self.subjects),
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self.last + 1,
                ack_policy=AckPolicy.NONE,
                idle_heartbeat=HEARTBEAT_SECONDS,
                inactive_threshold=FORGOTTEN_AFTER_SECONDS,
                mem_storage=True,
                num_replicas=1,
            ),
        )

    async def _receive(self, subscription: Subscription) -> None:
        """Return at the first sign that something may be missed."""
        loop = asyncio.get_running_loop()
        connections = self.nats.stats["reconnects"]
        delivered, heard = 0, loop.time()
        while self.nats.stats["reconnects"] == connections:
            try:
                message = await subscription.next_msg(timeout=WATCH_SECONDS)
            except nats.errors.TimeoutError:
                if loop.time() - heard > 2.5 * HEARTBEAT_SECONDS and self.nats.is_connected:
                    log.warning("no heartbeat of the event stream", extra={"subjects": list(self.subjects)})
                    return
                continue
            heard, self.failures = loop.time(), 0
            headers = message.headers or {}
            if "Status" in headers and not message.data:
                if int(headers.get("Nats-Last-Consumer", delivered)) != delivered:
                    return
                continue
            sequence = message.metadata.sequence
            if sequence.consumer != delivered + 1:
                return
            delivered += 1
            await self._handle(message)
            self.last = sequence.stream

    async def _handle(self, message: Msg) -> None:
        try:
            event = parse_event(message.data)
        except ValidationError as error:
            log.error("unreadable event skipped", extra={"subject": message.subject, "error": str(error)})
            return
        with trace.use((message.headers or {}).get("traceparent") or event.traceparent):
            try:
                await self.handler(event)
            except Exception:
                log.exception("event handling failed", extra={"event": event.id, "type": event.type})


async def _unsubscribe(subscription: Subscription) -> None:
    try:
        await subscription.unsubscribe()
    except nats.errors.Error as error:
        log.debug("inbox not released: %r", error)
