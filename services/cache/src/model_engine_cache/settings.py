"""Settings of the cache."""

from pydantic import Field

from model_engine_chassis.settings_base import HealthSettings, MongoSettings, NatsSettings, RedisSettings
from model_engine_runtime.driver import RuntimeSettings


class CacheSettings(RuntimeSettings, NatsSettings, MongoSettings, RedisSettings, HealthSettings):
    """MongoDB holds the lease of the leader, nothing else of this service."""

    lease_seconds: float = Field(default=5.0, gt=0, description="the standby takes over after this time at the latest")
