"""Which failed requests are sent again, and after how long.

A request may be sent again when nothing of it can have taken effect (it never left, or the answer was 429 or 503), or
when repeating it does no harm: reads, and what the caller vouches for with `repeatable`.
"""

import random
from dataclasses import dataclass

from model_engine.errors import ConnectionLostError, ModelEngineError, UnavailableError, UnreachableError

_REFUSED = (429, 503)


@dataclass(frozen=True, slots=True)
class Retry:
    """One retry that is about to happen: what for, why, and after how many seconds."""

    method: str
    path: str
    attempt: int
    delay_seconds: float
    cause: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}: {self.cause}; attempt {self.attempt} in {self.delay_seconds:.1f} s"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """At most `attempts` in all; waits double from `base_seconds` to `cap_seconds`, with full jitter.

    A Retry-After of the service is honoured; one beyond `longest_wait_seconds` ends the attempts.
    """

    attempts: int = 10
    base_seconds: float = 0.2
    cap_seconds: float = 5.0
    longest_wait_seconds: float = 60.0

    def delay(self, error: ModelEngineError, *, repeatable: bool, attempt: int) -> float | None:
        """Seconds until the next attempt after attempt number `attempt` failed; None when there is none."""
        if attempt >= self.attempts or not _may_repeat(error, repeatable):
            return None
        backoff = self.backoff(attempt)
        wanted = error.retry_after if isinstance(error, UnavailableError) else None
        if wanted is None:
            return backoff
        if wanted > self.longest_wait_seconds:
            return None
        # The jitter on top keeps clients apart that were all told the same.
        return wanted + backoff

    def backoff(self, attempt: int) -> float:
        """Seconds to wait after the failed attempt number `attempt`, counted from 1."""
        return random.uniform(0, min(self.cap_seconds, self.base_seconds * 2 ** min(attempt, 16)))  # noqa: S311 # jitter


def _may_repeat(error: ModelEngineError, repeatable: bool) -> bool:
    if isinstance(error, UnreachableError):
        return True
    if isinstance(error, UnavailableError):
        return repeatable or error.status in _REFUSED
    return repeatable and isinstance(error, ConnectionLostError)
