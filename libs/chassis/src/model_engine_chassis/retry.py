"""Backoff for everything that is tried again."""

import random

REDELIVERY_BASE = 0.5
REDELIVERY_CAP = 60.0


def backoff(attempt: int, base: float = 0.1, cap: float = 5.0) -> float:
    """Seconds to wait before attempt `attempt` + 1 (the first is 0): exponential, capped, with full jitter.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return random.uniform(0.0, min(cap, base * 2.0 ** min(attempt, 30)))  # noqa: S311  # jitter, not a secret


def redelivery_delay(deliveries: int) -> float:
    """Seconds until a message that failed comes again: 0.5·2ⁿ with n the deliveries before this one, at most a minute.

    Up to a quarter is added as jitter, so that messages that failed together do not come back together. A negative
    acknowledgement without a delay comes back at once: the server's own backoff is for lost acknowledgements only.
    """
    delay = min(REDELIVERY_CAP, REDELIVERY_BASE * 2.0 ** min(deliveries - 1, 30))
    return delay * random.uniform(1.0, 1.25)  # noqa: S311  # jitter, not a secret
