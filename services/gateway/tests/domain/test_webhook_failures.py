"""What a failed delivery means for a subscription."""

from datetime import UTC, datetime, timedelta

import pytest

from model_engine_contracts.api.subscriptions import EventDelivery
from model_engine_gateway.webhooks.subscription import GiveUp, Retry, Subscription, after_failure

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DAY = 86_400.0


def _subscription(failing_since: datetime | None = None, attempts: int = 0) -> Subscription:
    return Subscription(
        id="sub_1",
        owner="ada",
        url="https://receiver.test/",
        types=None,
        endpoint_id=None,
        secret="whsec_eA==",
        created_by="ada",
        created_at=BEGAN,
        position=0,
        failing_since=failing_since,
        attempts=attempts,
    )


def _failure(at: datetime, attempt: int, status: int | None = 500) -> EventDelivery:
    return EventDelivery(
        at=at,
        event_id="event-1",
        type="t",
        position=1,
        attempt=attempt,
        delivered=False,
        status_code=status,
        error="The receiver answered 500.",
        seconds=15.0,
    )


@pytest.mark.parametrize(("attempts", "longest"), [(0, 1), (1, 2), (5, 32), (20, 300), (10_000, 300)])
def test_waits_grow_up_to_five_minutes_after_the_attempt_ended(attempts: int, longest: float) -> None:
    retry = after_failure(_subscription(BEGAN if attempts else None, attempts), _failure(BEGAN, attempts + 1), DAY)
    assert isinstance(retry, Retry)
    assert (retry.failing_since, retry.attempts) == (BEGAN, attempts + 1)
    assert 15 <= (retry.next_attempt_at - BEGAN).total_seconds() <= 15 + longest


def test_a_day_of_failures_is_the_end() -> None:
    almost = after_failure(_subscription(BEGAN, 300), _failure(BEGAN + timedelta(seconds=DAY - 1), 301), DAY)
    assert isinstance(almost, Retry)
    assert almost.failing_since == BEGAN
    end = after_failure(_subscription(BEGAN, 301), _failure(BEGAN + timedelta(seconds=DAY), 302), DAY)
    assert end == GiveUp("Deliveries have failed since 2026-01-02T03:04:05+00:00: The receiver answered 500.")


def test_gone_is_the_end_at_once() -> None:
    assert after_failure(_subscription(), _failure(BEGAN, 1, 410), DAY) == GiveUp("The receiver answered 410 Gone.")
    assert isinstance(after_failure(_subscription(), _failure(BEGAN, 1, None), DAY), Retry)


def test_the_secret_is_not_shown() -> None:
    assert "whsec" not in repr(_subscription())
    assert "secret" not in _subscription().wire().model_dump()
