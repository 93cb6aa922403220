"""The collection `event_subscriptions`. A tombstone is invisible here: nothing is left of it but an event to publish.

The deliverer moves `position` by compare-and-set on it and leaves `version` alone, as the outbox relay does. The last
deliveries are kept in the document, so that one write moves the position and remembers why.
"""

from collections.abc import Sequence
from typing import Any

from pymongo import ASCENDING, IndexModel

from model_engine_chassis.outbox import change, outbox_entry
from model_engine_contracts.api.subscriptions import MAX_DELIVERIES, EventDelivery, SubscriptionStatus
from model_engine_contracts.events import Event
from model_engine_gateway.webhooks.subscription import Retry, Subscription

SUBSCRIPTIONS = "event_subscriptions"
SUBSCRIPTION_INDEXES = (
    IndexModel([("owner", ASCENDING), ("_id", ASCENDING)], name="owner"),
    IndexModel([("status", ASCENDING), ("_id", ASCENDING)], name="status"),
)

SETTLED = {"failing_since": None, "attempts": 0, "next_attempt_at": None}
"""The fields of a subscription whose last delivery succeeded."""

_HIDDEN = {"outbox": 0, "deliveries": 0}


class SubscriptionRepository:
    """Reads and writes subscriptions."""

    def __init__(self, database: Any) -> None:
        self._subscriptions = database[SUBSCRIPTIONS]

    async def insert(self, subscription: Subscription, event: Event[Any]) -> None:
        """Store a new subscription."""
        document = subscription.model_dump(by_alias=True)
        await self._subscriptions.insert_one({**document, "deliveries": [], "outbox": [outbox_entry(event)]})

    async def count(self, owner: str) -> int:
        """How many subscriptions an owner has."""
        return int(await self._subscriptions.count_documents({"owner": owner, "tombstone": False}))

    async def owned(self, owner: str) -> list[Subscription]:
        """The subscriptions of an owner, oldest first."""
        cursor = self._subscriptions.find({"owner": owner, "tombstone": False}, _HIDDEN).sort("_id", ASCENDING)
        return [Subscription.model_validate(found) async for found in cursor]

    async def find_owned(self, owner: str, subscription_id: str) -> Subscription | None:
        """A subscription of this owner by its id."""
        return _read(await self._subscriptions.find_one(_owned(owner, subscription_id), _HIDDEN))

    async def deliveries(self, owner: str, subscription_id: str, limit: int) -> list[EventDelivery] | None:
        """The last attempts, newest first; null where the owner has no such subscription."""
        shown = {"deliveries": {"$slice": -limit}}
        found = await self._subscriptions.find_one(_owned(owner, subscription_id), shown)
        if found is None:
            return None
        return [EventDelivery.model_validate(entry) for entry in reversed(found["deliveries"])]

    async def delete(self, owner: str, subscription_id: str, event: Event[Any]) -> bool:
        """Delete a subscription, its secret and its log at once; False where the owner has none of this id."""
        update = change({"tombstone": True, "status": SubscriptionStatus.DISABLED}, [event])
        update["$unset"] = {"secret": "", "url": "", "deliveries": ""}
        result = await self._subscriptions.update_one(_owned(owner, subscription_id), update)
        return bool(result.matched_count)

    async def remember(self, subscription_id: str, delivery: EventDelivery) -> None:
        """Add an attempt to the log."""
        await self._subscriptions.update_one({"_id": subscription_id, "tombstone": False}, {"$push": _logged(delivery)})

    async def active(self, owners: Sequence[str] | None = None) -> list[str]:
        """Ids of the subscriptions that events are sent to: all, or those of some owners."""
        query: dict[str, Any] = {"status": SubscriptionStatus.ACTIVE}
        if owners is not None:
            query["owner"] = {"$in": list(owners)}
        return [str(found["_id"]) async for found in self._subscriptions.find(query, {"_id": 1})]

    async def find_active(self, subscription_id: str) -> Subscription | None:
        """A subscription, if events are sent to it."""
        query = {"_id": subscription_id, "status": SubscriptionStatus.ACTIVE}
        return _read(await self._subscriptions.find_one(query, _HIDDEN))

    async def advance(self, subscription: Subscription, delivery: EventDelivery) -> bool:
        """Record a delivered event; False where the subscription is not as it was read."""
        update = {"$set": {"position": delivery.position, **SETTLED}, "$push": _logged(delivery)}
        return await self._update(subscription, update)

    async def retry(self, subscription: Subscription, delivery: EventDelivery, retry: Retry) -> bool:
        """Record a failed delivery and when the next one is due."""
        fields = {
            "failing_since": retry.failing_since,
            "attempts": retry.attempts,
            "next_attempt_at": retry.next_attempt_at,
        }
        return await self._update(subscription, {"$set": fields, "$push": _logged(delivery)})

    async def disable(
        self, subscription: Subscription, delivery: EventDelivery, reason: str, event: Event[Any]
    ) -> bool:
        """Record a failed delivery that was the last one."""
        fields = {
            "status": SubscriptionStatus.DISABLED,
            "disabled_reason": reason,
            "attempts": delivery.attempt,
            "next_attempt_at": None,
        }
        update = change(fields, [event])
        update["$push"] |= _logged(delivery)
        return await self._update(subscription, update)

    async def _update(self, subscription: Subscription, update: dict[str, Any]) -> bool:
        query = {"_id": subscription.id, "status": SubscriptionStatus.ACTIVE, "position": subscription.position}
        result = await self._subscriptions.update_one(query, update)
        return bool(result.matched_count)


def _owned(owner: str, subscription_id: str) -> dict[str, Any]:
    return {"_id": subscription_id, "owner": owner, "tombstone": False}


def _logged(delivery: EventDelivery) -> dict[str, Any]:
    return {"deliveries": {"$each": [delivery.model_dump()], "$slice": -MAX_DELIVERIES}}


def _read(found: dict[str, Any] | None) -> Subscription | None:
    return None if found is None else Subscription.model_validate(found)
