"""The consumer of task queues: one long-lived inbox, as many messages as may run at once, healing by itself.

It speaks the pull protocol of JetStream directly (ADR-13 of the NATS architecture), because the client's own fetch
stalls for seconds when it is idle and costs ten times as much per message. It only binds to a durable and never makes
one: whoever owns the durable makes and deletes it.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable

import nats.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from prometheus_client import Counter, Gauge, Histogram

from model_engine_chassis import trace
from model_engine_chassis.acknowledge import retry_later, settle, terminate
from model_engine_chassis.retry import backoff

log = logging.getLogger(__name__)

Handler = Callable[[Msg], Awaitable[None]]

REBIND_BASE = 0.25
REBIND_CAP = 2.0
WATCH_SECONDS = 0.25

HANDLED = Counter("modelengine_puller_messages", "Messages by how their handling ended.", ["durable", "outcome"])
RUNNING = Gauge("modelengine_puller_running", "Messages whose handler runs now.", ["durable"])
SECONDS = Histogram("modelengine_puller_handler_seconds", "Seconds that one handler ran.", ["durable"])
REBINDS = Counter("modelengine_puller_rebinds", "Times that pulling began anew after a fault.", ["durable"])


class PermanentError(Exception):
    """The message cannot be handled however often it comes: it is terminated and becomes a dead letter."""


class RetryLater(Exception):
    """The message cannot be handled now, for a reason that is no fault of this process: it comes back later."""


class Puller:
    """Pulls from one durable and lets `handler` see up to `window` messages at once.

    A handler that returns acknowledges its message; it must be idempotent, since a message may come twice. One that
    raises PermanentError terminates it; any other exception brings it back after `redelivery_delay`, logged with its
    traceback unless it is RetryLater. While a handler runs, the message is kept from redelivery every third of
    `ack_wait` seconds (the durable's own), however long that takes: the deadline of one run is the handler's business.

    The server must send a heartbeat every `heartbeat` seconds to a waiting request. Silence for twice as long, a new
    connection, or the answer that the durable is gone begin a new binding, after a backoff that is at most two
    seconds.
    """

    def __init__(
        self,
        nats_client: Nats,
        *,
        stream: str,
        durable: str,
        handler: Handler,
        window: int,
        ack_wait: float,
        expires: float = 30.0,
        heartbeat: float = 5.0,
        drain_seconds: float = 30.0,
    ) -> None:
        self.stream = stream
        self.durable = durable
        self.window = window
        self._nats = nats_client
        self._handler = handler
        self._ack_wait = ack_wait
        self._heartbeat = heartbeat
        self._drain_seconds = drain_seconds
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._request = {"expires": int(expires * 1e9), "idle_heartbeat": int(heartbeat * 1e9)}
        self._running: dict[asyncio.Task[None], Msg] = {}
        # An integer lowered before the next request: live task objects are still counted while their callbacks run.
        self._busy = 0
        self._asked = 0
        self._inbox = ""
        self._heard = 0.0
        self._failures = 0
        self._draining = False
        self._broken = asyncio.Event()
        self._outcomes = {name: HANDLED.labels(durable, name) for name in ("done", "retried", "terminated", "released")}
        self._seconds = SECONDS.labels(durable)
        self._rebinds = REBINDS.labels(durable)
        RUNNING.labels(durable).set_function(lambda: self._busy)

    @property
    def running(self) -> int:
        """How many handlers run now."""
        return self._busy

    async def set_window(self, window: int) -> None:
        """Change how many messages may run at once; 0 pauses. After a lower one, what was asked for before may still
        come for a quarter of a second."""
        lower, self.window = window < self.window, window
        if lower:
            self._broken.set()
        elif self._inbox:
            await self._ask()

    async def run(self, stop: asyncio.Event) -> None:
        """Pull until `stop` is set, then drain: ask for nothing more, let running handlers finish for `drain_seconds`,
        cancel the others and hand their messages back at once.

        Raises ConnectionClosedError when the connection was closed for good.
        """
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(self._keep_running_messages())
            try:
                await self._pull(group, stop)
                await self._finish_running()
            finally:
                keeper.cancel()
                for task in self._running:
                    task.cancel()
        await self._flush()

    async def _pull(self, group: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if not self._nats.is_connected:
                await self._await_connection(stop)
                continue
            subscription = await self._bind(group)
            try:
                await self._watch(stop)
            finally:
                self._draining = stop.is_set()
                await self._release(subscription)
            if not stop.is_set():
                self._rebinds.inc()
                await _wait(stop, backoff(self._failures, REBIND_BASE, REBIND_CAP))
                self._failures += 1

    async def _await_connection(self, stop: asyncio.Event) -> None:
        """A request made now would be sent beside the first one of the new connection."""
        if self._nats.is_closed:
            raise nats.errors.ConnectionClosedError
        await _wait(stop, WATCH_SECONDS)

    async def _bind(self, group: asyncio.TaskGroup) -> Subscription:
        """A fresh inbox for each binding: what is left of older requests cannot exceed the window then."""

        async def on_message(message: Msg) -> None:
            if self._inbox == inbox:
                await self._receive(group, message)

        self._inbox = inbox = self._nats.new_inbox()
        self._asked = 0
        self._broken.clear()
        subscription = await self._nats.subscribe(inbox, cb=on_message)
        await self._ask()
        return subscription

    async def _watch(self, stop: asyncio.Event) -> None:
        """Return when pulling must begin anew or end."""
        loop = asyncio.get_running_loop()
        connections = self._nats.stats["reconnects"]
        while not self._broken.is_set():
            if await _wait(stop, WATCH_SECONDS):
                return
            if self._nats.stats["reconnects"] != connections:
                self._failures = 0
                return
            silent = loop.time() - self._heard
            if self._asked and silent > 2 * self._heartbeat and self._nats.is_connected:
                self._report(f"no heartbeat for {silent:.1f} s")
                return

    async def _release(self, subscription: Subscription) -> None:
        """End the binding. Messages that are on their way still arrive, and go back at once when this drains."""
        try:
            async with asyncio.timeout(self._heartbeat):
                if self._nats.is_connected:
                    await subscription.drain()  # type: ignore[no-untyped-call]  # nats-py does not annotate it
                else:
                    await subscription.unsubscribe()
        except (nats.errors.Error, TimeoutError) as error:
            log.debug("inbox of %s not released: %r", self.durable, error)

    async def _ask(self) -> None:
        free = self.window - self._asked - self._busy
        if free <= 0 or (self._asked and free < self.window // 2) or self._draining:
            return
        if not self._asked:
            self._heard = asyncio.get_running_loop().time()
        self._asked += free
        try:
            await self._nats.publish(self._subject, json.dumps({"batch": free, **self._request}).encode(), self._inbox)
        except nats.errors.Error as error:
            self._report(repr(error))

    async def _receive(self, group: asyncio.TaskGroup, message: Msg) -> None:
        self._heard = asyncio.get_running_loop().time()
        headers = message.headers
        if headers is not None and "Status" in headers and not message.data:
            await self._receive_status(headers)
            return
        self._failures = 0
        self._asked -= 1
        if self._draining:
            await self._settle(message.nak(), "released")
            return
        self._busy += 1
        task = group.create_task(self._handle(message))
        self._running[task] = message
        task.add_done_callback(self._running.pop)
        await self._ask()

    async def _receive_status(self, headers: dict[str, str]) -> None:
        status = headers["Status"]
        if status == "100":
            self._failures = 0
        elif status in ("404", "408"):
            self._asked = max(0, self._asked - int(headers.get("Nats-Pending-Messages", self._asked)))
            await self._ask()
        else:
            # 409: the durable was deleted, the server ends or refuses the request; 503: nobody serves the durable.
            self._report(f"{status} {headers.get('Description', 'No Responders')}")

    def _report(self, trouble: str) -> None:
        """One warning per outage, which is also how a wait of minutes for a missing durable is heard of."""
        level = logging.DEBUG if self._failures else logging.WARNING
        log.log(level, "pulling from %s of %s begins anew: %s", self.durable, self.stream, trouble)
        self._broken.set()

    async def _handle(self, message: Msg) -> None:
        try:
            with trace.use((message.headers or {}).get("traceparent")), self._seconds.time():
                await self._settle_by_outcome(message)
        finally:
            self._busy -= 1
        await self._ask()

    async def _settle_by_outcome(self, message: Msg) -> None:
        try:
            await self._handler(message)
        except PermanentError as error:
            log.error("message terminated", extra={"subject": message.subject, "error": str(error)})
            await self._settle(terminate(message, str(error)), "terminated")
        except RetryLater as error:
            log.info("message comes back later", extra={"subject": message.subject, "cause": str(error)})
            await self._settle(retry_later(message), "retried")
        except asyncio.CancelledError:
            await self._settle(message.nak(), "released")
            raise
        except Exception:
            log.exception("message failed", extra={"subject": message.subject})
            await self._settle(retry_later(message), "retried")
        else:
            await self._settle(message.ack(), "done")

    async def _settle(self, acknowledgement: Awaitable[object], outcome: str) -> None:
        await settle(acknowledgement, self.durable)
        self._outcomes[outcome].inc()

    async def _keep_running_messages(self) -> None:
        """Tell the server that running messages are worked on. Only those that have run for a while: most are short."""
        earlier: set[asyncio.Task[None]] = set()
        while True:
            await asyncio.sleep(self._ack_wait / 3)
            for task, message in list(self._running.items()):
                if task in earlier and not task.done() and self._nats.is_connected:
                    await settle(message.in_progress(), self.durable)
            earlier = set(self._running)

    async def _finish_running(self) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=self._drain_seconds)

    async def _flush(self) -> None:
        """Acknowledgements are in the client's buffer still."""
        try:
            await self._nats.flush(timeout=2)
        except (nats.errors.Error, TimeoutError) as error:
            log.warning("%s: last acknowledgements may be lost: %r", self.durable, error)


async def _wait(stop: asyncio.Event, seconds: float) -> bool:
    """Whether `stop` was set within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            return await stop.wait()
    except TimeoutError:
        return False
