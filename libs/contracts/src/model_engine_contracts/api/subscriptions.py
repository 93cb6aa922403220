"""Subscriptions to events by webhook, on the wire."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field

MAX_DELIVERIES = 100
"""How many deliveries of a subscription are remembered."""


class SubscriptionStatus(StrEnum):
    """Whether events are sent."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"


class CreateEventSubscriptionRequest(BaseModel):
    """A receiver of events. Without `types` and `endpoint_id` it gets every event of the owner.

    `after` is the position after which to begin, for example that of a subscription which was disabled; null: with what
    happens next.
    """

    url: str = Field(min_length=1, max_length=2083, description="http or https address that events are posted to")
    types: list[str] | None = Field(
        default=None, min_length=1, max_length=100, description="only events of these types"
    )
    endpoint_id: str | None = Field(default=None, description="only events about this endpoint, its tasks included")
    after: int | None = Field(default=None, ge=0, le=2**53, description="position in the history to begin after")


class EventSubscriptionResponse(BaseModel):
    """A subscription. Everything up to `position` was delivered, or is not for it.

    While deliveries fail, `failing_since`, `attempts` and `next_attempt_at` say since when, how often, and when next.
    """

    id: str
    url: str
    types: list[str] | None
    endpoint_id: str | None
    status: SubscriptionStatus
    disabled_reason: str | None
    created_by: str
    created_at: datetime
    position: int
    failing_since: datetime | None
    attempts: int
    next_attempt_at: datetime | None


class CreateEventSubscriptionResponse(EventSubscriptionResponse):
    """The new subscription and its secret (Standard Webhooks), which is shown this once."""

    secret: str


class ListEventSubscriptionsResponse(BaseModel):
    """The caller's subscriptions, oldest first."""

    event_subscriptions: list[EventSubscriptionResponse]


class DeleteEventSubscriptionResponse(BaseModel):
    """Nothing is sent any more; a delivery under way may still arrive."""

    deleted: bool


class EventDelivery(BaseModel):
    """One attempt to deliver one event. `position` is null for a test; `status_code` is null where no answer came."""

    at: datetime
    event_id: str
    type: str
    position: int | None
    attempt: int
    delivered: bool
    status_code: int | None
    error: str | None
    seconds: float


class ListEventDeliveriesResponse(BaseModel):
    """The last attempts, newest first."""

    deliveries: list[EventDelivery]
