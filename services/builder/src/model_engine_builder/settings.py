"""Settings of the builder."""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from model_engine_builder.domain.worker_set import Limits
from model_engine_chassis.settings_base import (
    HealthSettings,
    MongoSettings,
    NatsSettings,
    OutboundSettings,
    split_at_commas,
)
from model_engine_runtime.driver import RuntimeSettings


class BuilderSettings(RuntimeSettings, OutboundSettings, NatsSettings, MongoSettings, HealthSettings):
    """Times in seconds."""

    gateway_url: str = Field(
        pattern="^https?://", description="where those who prepare environments reach the gateway, for artifacts"
    )
    artifact_url_secret: str = Field(min_length=16, description="secret that signs the addresses of artifacts")
    allowed_object_prefixes: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="beginnings, comma-separated, of the s3://, gs:// and az:// locations that bundles may name;"
        " {owner} stands for the bundle's owner, such as s3://models/{owner}/",
    )
    build_deadline_seconds: float = Field(default=1500.0, gt=0, description="longest build of an environment")
    start_deadline_seconds: float = Field(default=600.0, gt=0, description="longest start of a worker until it answers")
    worker_drain_seconds: float = Field(default=30.0, ge=0, description="what a worker may take to finish its calls")
    runtime_grace_seconds: float = Field(
        default=30.0, gt=0, description="a rollout fails when the runtime is away for so long; it goes on by itself"
    )
    resync_seconds: float = Field(default=30.0, gt=0, description="between two comparisons of every endpoint")
    passes_at_once: int = Field(default=16, gt=0, description="endpoints that are worked on at once")
    lease_seconds: float = Field(default=10.0, ge=2, description="another builder takes an endpoint over after so long")
    janitor_seconds: float = Field(default=60.0, gt=0, description="between two looks for what nobody wants any more")
    orphan_age_seconds: float = Field(default=300.0, ge=0, description="younger workers are never taken for orphans")
    environment_grace_seconds: float = Field(
        default=600.0, ge=0, description="an environment is kept for so long after its last user"
    )
    max_log_streams: int = Field(default=64, gt=0, description="logs read at once; beyond: an error")
    max_log_seconds: float = Field(default=3600.0, gt=0, description="longest reading of one log")

    _split_prefixes = field_validator("allowed_object_prefixes", mode="before")(split_at_commas)

    def limits(self) -> Limits:
        """The deadlines of rollouts."""
        return Limits(
            build=self.build_deadline_seconds,
            start=self.start_deadline_seconds,
            drain=self.worker_drain_seconds,
            queue=self.build_deadline_seconds,
            runtime_grace=self.runtime_grace_seconds,
        )
