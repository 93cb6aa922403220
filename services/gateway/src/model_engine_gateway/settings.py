"""Settings of the gateway."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from model_engine_chassis.settings_base import (
    HealthSettings,
    MongoSettings,
    NatsSettings,
    RedisSettings,
    ServiceSettings,
    split_at_commas,
)
from model_engine_gateway.inference.settings import InferenceSettings
from model_engine_gateway.tasks.settings import TaskSettings
from model_engine_gateway.webhooks.settings import WebhookSettings


class GatewaySettings(
    InferenceSettings,
    TaskSettings,
    WebhookSettings,
    NatsSettings,
    MongoSettings,
    RedisSettings,
    HealthSettings,
    ServiceSettings,
):
    """Sizes in bytes, times in seconds."""

    host: str = Field(default="127.0.0.1", description="address of the REST API")
    port: int = Field(default=5000, ge=0, le=65535, description="its port; 0 lets the system choose (logged)")
    reuse_port: bool = Field(default=False, description="let several gateways of this machine share the port")
    identity: str = Field(
        default="keys",
        description="whose a credential is: keys (the platform's API keys), any-string (every string is its own owner: "
        "only where everybody may be anybody), or module:factory of an identity resolver",
    )
    admin_token: str = Field(min_length=16, description="token that opens /v1/admin routes")
    artifact_url_secret: str = Field(min_length=16, description="secret that signs the addresses of artifacts")
    max_in_flight: int = Field(default=500, gt=0, description="control requests at once; beyond: 429")
    max_event_streams: int = Field(default=1000, gt=0, description="open event and log streams; beyond: 429")
    max_body_bytes: int = Field(default=1 << 20, gt=0, description="largest body of a control request")
    max_artifact_bytes: int = Field(default=2 << 30, gt=0, description="largest artifact")
    allowed_artifact_directories: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(),
        description="directories, comma-separated, whose files bundles of every owner may name with file://",
    )

    _split_directories = field_validator("allowed_artifact_directories", mode="before")(split_at_commas)
