"""Settings: read from ME_* variables, or from the file that ME_*_FILE names; every wrong key is listed at once."""

import os
import socket
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as MalformedValue

PREFIX = "ME_"


class SettingsError(Exception):
    """The settings are wrong; `problems` has one line per wrong key."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("wrong settings:\n" + "\n".join(f"  {problem}" for problem in problems))
        self.problems = problems


class _Unreadable:
    """Stands for the content of a file that cannot be read. It is of no field's type, so validation lists it."""

    def __init__(self, problem: str) -> None:
        self.problem = problem


class _FileSource(EnvSettingsSource):
    """`ME_X_FILE=/run/secrets/x` gives the content of that file, without its last line end, as ME_X."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        variable = f"{PREFIX}{field_name.upper()}_FILE"
        path = os.environ.get(variable)
        if not path:
            return None, field_name, False
        try:
            return Path(path).read_text("utf-8").rstrip("\n"), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            return _Unreadable(f"{variable}: {path} cannot be read: {reason}"), field_name, False


class ServiceSettings(BaseSettings):
    """What every service has. Subclasses add fields; each field is a variable with the prefix ME_.

    An empty variable counts as absent. Fields that may hold secrets are declared with `repr=False`.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="lowest level logged")
    log_format: Literal["json", "text"] = Field(default="json", description="form of log lines")
    drain_seconds: float = Field(default=30.0, ge=0, description="seconds to finish running work after SIGTERM")
    instance_id: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}",
        description="name of this process among its replicas; default: host name and process id",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then variables, then files."""
        return init_settings, env_settings, _FileSource(settings_cls)


class NatsSettings(ServiceSettings):
    """Where NATS is. At most one way of authentication."""

    nats_url: str = Field(description="NATS servers, comma-separated, such as nats://host:4222")
    nats_token: str | None = Field(default=None, repr=False, description="shared token of NATS")
    nats_credentials_file: Path | None = Field(default=None, description="credentials (JWT and seed) of NATS")


class MongoSettings(ServiceSettings):
    """Where MongoDB is."""

    mongo_url: str = Field(repr=False, description="MongoDB, such as mongodb://host:27017/?replicaSet=rs0")
    mongo_database: str = Field(default="model_engine", description="name of the database")


class RedisSettings(ServiceSettings):
    """Where Redis (or Valkey) is."""

    redis_url: str = Field(repr=False, description="Redis, such as redis://host:6379/0")


class HealthSettings(ServiceSettings):
    """Where the health server listens."""

    health_host: str = Field(default="127.0.0.1", description="address of the health server")
    health_port: int = Field(default=0, ge=0, le=65535, description="its port; 0 lets the system choose (logged)")


def split_at_commas(value: Any) -> Any:
    """The parts of a text; a before-validator of settings that are lists."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class OutboundSettings(ServiceSettings):
    """Which addresses of users may be called."""

    allowed_callback_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        default=(),
        description="networks (CIDR, comma-separated) that callbacks and webhooks may go to although they are not"
        " public, such as 10.0.0.0/8",
    )

    _split_networks = field_validator("allowed_callback_networks", mode="before")(split_at_commas)


SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def load_settings(settings_class: type[SettingsT]) -> SettingsT:
    """Read the settings. Raises SettingsError that lists every missing and every invalid key."""
    try:
        return settings_class()
    except ValidationError as error:
        problems = [_problem(settings_class, item) for item in error.errors(include_url=False)]
        # From None: the cause would show the values, secrets included.
        raise SettingsError(list(dict.fromkeys(problems))) from None
    except MalformedValue as error:
        raise SettingsError([str(error)]) from None


def _problem(settings_class: type[ServiceSettings], item: Any) -> str:
    name = str(item["loc"][0]) if item["loc"] else ""
    variable = f"{PREFIX}{name.upper()}"
    field = settings_class.model_fields.get(name)
    meaning = f" ({field.description})" if field is not None and field.description else ""
    if isinstance(item["input"], _Unreadable):
        return item["input"].problem + meaning
    if item["type"] == "missing":
        return f"{variable} is missing: set it, or {variable}_FILE to a file that holds it{meaning}"
    return f"{variable} is invalid: {item['msg']}{meaning}" if name else str(item["msg"])


def settings_table(settings_class: type[ServiceSettings]) -> str:
    """The settings as a markdown table: variable, type, default, meaning; those without a default come first."""
    rows = ["| variable | type | default | meaning |", "|---|---|---|---|"]
    fields = sorted(settings_class.model_fields.items(), key=lambda item: (not item[1].is_required(), item[0]))
    for name, field in fields:
        kind = getattr(field.annotation, "__name__", None)
        if kind is None or "[" in str(field.annotation) or "|" in str(field.annotation):
            kind = str(field.annotation).replace("typing.", "").replace("pathlib.", "").replace("|", "or")
        rows.append(f"| `{PREFIX}{name.upper()}` | {kind} | {_default(field)} | {field.description or ''} |")
    return "\n".join(rows)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    if field.default is PydanticUndefined:
        return "computed"
    return "none" if field.default is None else f"`{field.default}`"
