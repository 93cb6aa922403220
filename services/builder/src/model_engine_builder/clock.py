"""The time as documents keep it."""

from datetime import UTC, datetime


def now() -> datetime:
    """UTC in whole milliseconds, which is what MongoDB stores: what was written equals what is read."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
