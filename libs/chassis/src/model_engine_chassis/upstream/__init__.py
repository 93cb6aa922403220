"""The HTTP/1.1 client of gateway and forwarder: pooled, bounded, streaming both ways, safe to cancel."""

from model_engine_chassis.upstream.errors import (
    BadResponse,
    BodyTooLarge,
    ConnectFailed,
    TooManyConnections,
    UpstreamClosed,
    UpstreamError,
    UpstreamTimeout,
)
from model_engine_chassis.upstream.exchange import IDEMPOTENT_METHODS, Exchange
from model_engine_chassis.upstream.pool import UpstreamPool

__all__ = [
    "IDEMPOTENT_METHODS",
    "BadResponse",
    "BodyTooLarge",
    "ConnectFailed",
    "Exchange",
    "TooManyConnections",
    "UpstreamClosed",
    "UpstreamError",
    "UpstreamPool",
    "UpstreamTimeout",
]
