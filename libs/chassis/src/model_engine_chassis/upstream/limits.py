"""The bounds of a pool of upstream connections."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds; connections and waiting callers count per upstream. `UpstreamPool` explains them."""

    max_connections: int
    max_waiting: int
    connect_timeout: float
    head_timeout: float
    idle_timeout: float
    keep_alive: float
    max_head_bytes: int
