"""Settings of the autoscaler."""

from pydantic import Field

from model_engine_chassis.settings_base import (
    HealthSettings,
    MongoSettings,
    NatsSettings,
    RedisSettings,
    ServiceSettings,
)
from model_engine_runtime.driver import RuntimeSettings


class AutoscalerSettings(RuntimeSettings, NatsSettings, MongoSettings, RedisSettings, HealthSettings, ServiceSettings):
    """Windows in seconds; see the policy for what each of them does."""

    tick_seconds: float = Field(default=1.0, gt=0, description="seconds between two evaluations of every endpoint")
    stable_window_seconds: float = Field(
        default=60.0, gt=0, description="window of the mean concurrency, and of a scale-down of sync and streaming"
    )
    panic_window_seconds: float = Field(default=6.0, gt=0, description="window that answers bursts")
    panic_threshold: float = Field(
        default=2.0, gt=1, description="demand over capacity at which the panic window takes over"
    )
    zero_grace_seconds: float = Field(
        default=30.0, ge=0, description="further idle seconds before the last worker is taken away"
    )
    cooldown_seconds: float = Field(default=60.0, gt=0, description="window of a scale-down of async endpoints")
    oldest_age_seconds: float = Field(
        default=30.0, gt=0, description="age of the oldest task at which workers are added, one per this many seconds"
    )
    lease_seconds: float = Field(default=5.0, gt=0, description="the standby takes over after this time at the latest")
