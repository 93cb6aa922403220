"""Backoff for everything that is tried again."""

import random


def backoff(attempt: int, base: float = 0.1, cap: float = 5.0) -> float:
    """Seconds to wait before attempt `attempt` + 1 (the first is 0): exponential, capped, with full jitter.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return random.uniform(0.0, min(cap, base * 2.0 ** min(attempt, 30)))  # noqa: S311  # jitter, not a secret
