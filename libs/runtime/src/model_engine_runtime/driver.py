"""The one place where a service gets its Runtime."""

from typing import Literal

from nats.aio.client import Client as Nats
from pydantic import Field

from model_engine_chassis.settings_base import ServiceSettings
from model_engine_runtime.agent_client import AgentRuntime
from model_engine_runtime.protocol import Runtime


class RuntimeSettings(ServiceSettings):
    """Which driver, and what it needs."""

    runtime: Literal["agent"] = Field(default="agent", description="what runs the workers")
    agent_name: str = Field(default="local", pattern="^[a-z0-9_-]+$", description="name of the agent on NATS")


def open_runtime(settings: RuntimeSettings, nats: Nats) -> Runtime:
    """The Runtime that the settings name, on the service's own NATS connection."""
    return AgentRuntime(nats, settings.agent_name)
