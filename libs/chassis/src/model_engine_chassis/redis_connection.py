"""The connection to Redis or Valkey."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import FullJitterBackoff

from model_engine_chassis.settings_base import RedisSettings

TIMEOUT_SECONDS = 2.0


def connect_redis(settings: RedisSettings) -> Redis:
    """A client of texts. A command is repeated three times at most, then raises redis.exceptions.RedisError."""
    return Redis.from_url(
        settings.redis_url,
        decode_responses=True,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        health_check_interval=30,
        retry=Retry(FullJitterBackoff(cap=0.5, base=0.05), 3),
    )
