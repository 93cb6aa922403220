"""Settings of the agent."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from model_engine_chassis.settings_base import HealthSettings, NatsSettings


class AgentSettings(NatsSettings, HealthSettings):
    """Where the agent keeps its workers and under which name and address it offers them."""

    agent_data_dir: Path = Field(description="folder of everything that the agent keeps: wishes, environments, workers")
    agent_name: str = Field(default="local", pattern="^[a-z0-9_-]+$", description="name of the agent on NATS")
    agent_advertise_host: str = Field(default="127.0.0.1", description="host name under which gateways reach workers")
    agent_backend: Literal["process", "simulated"] = Field(
        default="process", description="processes, or workers that only pretend (for tests at scale)"
    )
    agent_parallel_builds: int = Field(default=2, ge=1, description="environments that are made at once; more wait")
    agent_max_artifact_bytes: int = Field(default=10 << 30, ge=1, description="largest artifact that is fetched, bytes")
