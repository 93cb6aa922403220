"""Subscriptions to events by webhook: history events. Addresses and secrets are never in an event."""

from typing import ClassVar

from model_engine_contracts.envelope import EventData


class _SubscriptionHistory(EventData):
    AGGREGATE: ClassVar[str] = "subscription"
    ENTITY: ClassVar[str] = "subscription_id"
    HISTORY: ClassVar[bool] = True

    subscription_id: str


class SubscriptionCreated(_SubscriptionHistory):
    """A webhook was subscribed to events."""

    VERB: ClassVar[str] = "created"

    created_by: str


class SubscriptionDisabled(_SubscriptionHistory):
    """A receiver failed for so long, or said so, that nothing is sent to it any more. `position` is where it stands."""

    VERB: ClassVar[str] = "disabled"

    reason: str
    position: int


class SubscriptionDeleted(_SubscriptionHistory):
    """A webhook was unsubscribed."""

    VERB: ClassVar[str] = "deleted"


class SubscriptionTested(_SubscriptionHistory):
    """A test delivery was asked for. Sent to that subscription only; not kept in the history."""

    VERB: ClassVar[str] = "tested"
