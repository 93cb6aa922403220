"""Posts the events of the history to the subscriptions: each at least once, and in order per subscription.

One gateway does it, the holder of a lease. Each subscription with work has a task of its own that reads the history
after its position, so that one that waits for a receiver holds up nobody else. The position is stored after each
success: dying in between delivers that one event again, under the same id.
"""

import asyncio
import logging

from prometheus_client import Counter, Gauge
from pymongo.errors import PyMongoError

from model_engine_chassis.history import History
from model_engine_chassis.leases import Lease, LeaseStore, lead
from model_engine_chassis.retry import backoff
from model_engine_contracts.api.subscriptions import EventDelivery
from model_engine_contracts.events import SubscriptionDisabled
from model_engine_gateway.clock import now
from model_engine_gateway.events import history_event
from model_engine_gateway.webhooks.repository import SETTLED, SubscriptionRepository
from model_engine_gateway.webhooks.sender import Message, Sender
from model_engine_gateway.webhooks.subscription import GiveUp, Subscription, after_failure

log = logging.getLogger(__name__)

LEASE = "webhook-deliverer"
LEASE_SECONDS = 10.0
BACKSTOP_SECONDS = 1.0
GATHER_SECONDS = 0.05
PAGE = 50
CONCURRENT_POSTS = 256

_BUSY = Gauge("modelengine_webhook_subscriptions_busy", "Subscriptions with events that are not delivered yet.")
_DISABLED = Counter("modelengine_webhook_subscriptions_disabled_total", "Subscriptions given up by this process.")


class Deliverer:
    """Delivers whenever this process holds the lease."""

    def __init__(
        self,
        subscriptions: SubscriptionRepository,
        history: History,
        sender: Sender,
        *,
        store: LeaseStore,
        holder: str,
        retry_seconds: float,
    ) -> None:
        self._subscriptions = subscriptions
        self._history = history
        self._sender = sender
        self._store = store
        self._holder = holder
        self._retry_seconds = retry_seconds
        self._wake = asyncio.Event()

    def poke(self) -> None:
        """An event has just been published: look at once."""
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""
        await lead(self._store, LEASE, self._holder, LEASE_SECONDS, self._work, stop)

    async def _work(self, lease: Lease) -> None:
        """Lead: find the subscriptions that events may have come for, and see that each has its task."""
        async with asyncio.TaskGroup() as group:
            deliveries = _Deliveries(group, self._subscriptions, self._history, self._sender, self._retry_seconds)
            position = await self._history.last_position()
            deliveries.start(await self._subscriptions.active())
            while True:
                await self._wait()
                newest = await self._history.last_position()
                if newest > position:
                    owners = await self._history.owners_after(position)
                    deliveries.start(await self._subscriptions.active(owners))
                    position = newest

    async def _wait(self) -> None:
        """Wait for a poke, or a second; then a moment more, so that many events are one look."""
        try:
            async with asyncio.timeout(BACKSTOP_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return
        await asyncio.sleep(GATHER_SECONDS)
        self._wake.clear()


class _Deliveries:
    """The tasks of one leader, one per subscription that has, or may have, events to deliver."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        subscriptions: SubscriptionRepository,
        history: History,
        sender: Sender,
        retry_seconds: float,
    ) -> None:
        self._group = group
        self._subscriptions = subscriptions
        self._history = history
        self._sender = sender
        self._retry_seconds = retry_seconds
        self._slots = asyncio.Semaphore(CONCURRENT_POSTS)
        self._running: set[str] = set()
        self._asked: set[str] = set()
        self._searched: dict[str, int] = {}

    def start(self, subscription_ids: list[str]) -> None:
        """See that each of these is looked at from now on, by a task that runs already or by a new one."""
        for subscription_id in subscription_ids:
            self._asked.add(subscription_id)
            if subscription_id not in self._running:
                self._running.add(subscription_id)
                self._group.create_task(self._deliver_all(subscription_id))

    async def _deliver_all(self, subscription_id: str) -> None:
        failures = 0
        with _BUSY.track_inprogress():
            while subscription_id in self._asked:
                self._asked.discard(subscription_id)
                try:
                    while await self._deliver_some(subscription_id):
                        failures = 0
                except PyMongoError:
                    raise
                except Exception:
                    # Whatever is wrong with this one, the others go on.
                    log.exception("a webhook failed", extra={"subscription": subscription_id})
                    self._asked.add(subscription_id)
                    failures += 1
                    await asyncio.sleep(1 + backoff(failures, cap=60.0))
            self._running.discard(subscription_id)

    async def _deliver_some(self, subscription_id: str) -> bool:
        """Deliver a page of events, or wait until an attempt is due; False when there is nothing left to do."""
        subscription = await self._subscriptions.find_active(subscription_id)
        if subscription is None:
            self._searched.pop(subscription_id, None)
            return False
        if subscription.next_attempt_at and (wait := (subscription.next_attempt_at - now()).total_seconds()) > 0:
            await asyncio.sleep(wait)
            return True
        newest = await self._history.last_position()
        page = await self._history.read(
            subscription.owner,
            max(subscription.position, self._searched.get(subscription_id, 0)),
            PAGE,
            endpoint_id=subscription.endpoint_id,
            types=subscription.types,
        )
        for record in page:
            message = Message(record.event_id, record.type, record.text, record.position)
            async with self._slots:
                delivery = await self._sender.send(subscription, message, subscription.attempts + 1)
            if not delivery.delivered:
                await self._failed(subscription, delivery)
                break
            if not await self._subscriptions.advance(subscription, delivery):
                break
            subscription = subscription.model_copy(update={"position": record.position, **SETTLED})
        if not page:
            self._searched[subscription_id] = newest
        return bool(page)

    async def _failed(self, subscription: Subscription, delivery: EventDelivery) -> None:
        match after_failure(subscription, delivery, self._retry_seconds):
            case GiveUp(reason):
                disabled = SubscriptionDisabled(
                    subscription_id=subscription.id, reason=reason, position=subscription.position
                )
                event = history_event(disabled, subscription.owner)
                if await self._subscriptions.disable(subscription, delivery, reason, event):
                    _DISABLED.inc()
                    log.warning("a webhook is disabled", extra={"subscription": subscription.id, "reason": reason})
            case retry:
                await self._subscriptions.retry(subscription, delivery, retry)
