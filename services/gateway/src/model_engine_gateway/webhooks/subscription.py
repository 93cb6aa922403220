"""A subscription as MongoDB holds it, and what a failed delivery means for it. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

from model_engine_chassis.retry import backoff
from model_engine_contracts.api.subscriptions import EventDelivery, EventSubscriptionResponse, SubscriptionStatus

RETRY_BASE_SECONDS = 1.0
RETRY_CAP_SECONDS = 300.0
GONE = 410


class Subscription(BaseModel):
    """One subscription. `position` is the last event that was delivered, or where it began.

    `failing_since`, `attempts` and `next_attempt_at` are of the event after it, while that cannot be delivered.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    id: str = Field(alias="_id")
    owner: str
    url: str
    types: list[str] | None
    endpoint_id: str | None
    secret: str = Field(repr=False)
    status: SubscriptionStatus = SubscriptionStatus.ACTIVE
    disabled_reason: str | None = None
    created_by: str
    created_at: datetime
    position: int
    failing_since: datetime | None = None
    attempts: int = 0
    next_attempt_at: datetime | None = None
    tombstone: bool = False
    version: int = 1

    def wire(self) -> EventSubscriptionResponse:
        """What its owner may see."""
        return EventSubscriptionResponse.model_validate(self, from_attributes=True)


@dataclass(frozen=True, slots=True)
class Retry:
    """The event is tried again."""

    failing_since: datetime
    attempts: int
    next_attempt_at: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nothing is sent to this receiver any more."""

    reason: str


def after_failure(subscription: Subscription, failed: EventDelivery, retry_seconds: float) -> Retry | GiveUp:
    """What follows a failed delivery: another attempt, until it has failed for `retry_seconds` or says 410 Gone."""
    if failed.status_code == GONE:
        return GiveUp("The receiver answered 410 Gone.")
    since = subscription.failing_since or failed.at
    if failed.at - since >= timedelta(seconds=retry_seconds):
        return GiveUp(f"Deliveries have failed since {since.isoformat(timespec='seconds')}: {failed.error}")
    delay = backoff(failed.attempt - 1, RETRY_BASE_SECONDS, RETRY_CAP_SECONDS)
    return Retry(since, failed.attempt, failed.at + timedelta(seconds=failed.seconds + delay))
