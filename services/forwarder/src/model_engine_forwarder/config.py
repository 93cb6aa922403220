"""The forwarder's configuration: a YAML or JSON file, `--set` overrides and one environment variable."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from model_engine_forwarder.errors import ConfigError
from model_engine_forwarder.overrides import apply_overrides, parse_value

BLOCKS = ("sync", "stream", "async")
SERIALIZE_VARIABLE = "SERIALIZE_RESULTS_AS_STRING"


def _check_route(route: str) -> str:
    if not route.startswith("/") or not route.isascii() or any(c <= " " or c in "?#\x7f" for c in route):
        raise ValueError("a route starts with / and has no blank, ?, # or character beyond ASCII")
    return route


def _refuse_grpc(use_grpc: bool) -> bool:
    if use_grpc:
        raise ValueError("gRPC to the model server is not supported; set it to false")
    return use_grpc


Route = Annotated[str, AfterValidator(_check_route)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Block(_Model):
    """What sync, stream and async have in common: where the model server is and what it receives.

    `routes` and `extra_routes` are the same list in two parts; `batch_route` and `use_grpc` are accepted when off.
    """

    user_port: int = Field(default=5005, ge=1, le=65535)
    user_hostname: Literal["localhost", "127.0.0.1", "::1"] = "localhost"
    use_grpc: Annotated[bool, AfterValidator(_refuse_grpc)] = False
    predict_route: Route = "/predict"
    healthcheck_route: Route | None = None
    batch_route: None = None
    model_engine_unwrap: bool = True
    serialize_results_as_string: bool = True
    routes: tuple[Route, ...] = ()
    extra_routes: tuple[Route, ...] = ()
    forwarder_type: Literal["default", "passthrough"] = "default"

    @property
    def all_routes(self) -> tuple[str, ...]:
        """Every extra route once, in the order written."""
        return tuple(dict.fromkeys(self.routes + self.extra_routes))

    @property
    def health_route(self) -> str:
        """The route whose 200 means that the model server is ready."""
        return self.healthcheck_route or ("/health" if self.forwarder_type == "passthrough" else "/readyz")


class SyncBlock(Block):
    """How one answer of the model server becomes one answer of ours; the async block says the same of results."""

    wrap_response: bool = True
    forward_http_status: bool = False
    forward_http_status_in_body: bool = False


class StreamBlock(Block):
    """How events of the model server become ours. Each is wrapped."""

    serialize_results_as_string: bool = False


class QueueBlock(_Model):
    """The task queue of an async endpoint: its stream and durable consumer, and how many tasks run here at once."""

    stream: str = Field(min_length=1)
    durable: str = Field(min_length=1)
    concurrency: int = Field(ge=1)


class WorkerBlock(_Model):
    """Who this worker is inside the platform. Absent when the forwarder stands alone."""

    endpoint_id: str = Field(min_length=1)
    worker_id: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    queue: QueueBlock | None = None


class Config(_Model):
    """The whole configuration. Times in seconds, sizes in bytes.

    `max_concurrency` bounds sync calls, streams and passthrough together, `max_queue` how many more may wait for
    `queue_timeout_seconds` before they are refused. `max_body_bytes` bounds each body that is held in memory (not
    passthrough). `head_timeout_seconds` is how long the model server may compute before it answers,
    `idle_timeout_seconds` how long it may be silent in mid-answer. `drain_delay_seconds` is how long the port stays
    open after a stop signal, with readiness already false.
    """

    name: str = "forwarder"
    sync: SyncBlock | None = None
    stream: StreamBlock | None = None
    async_: SyncBlock | None = Field(default=None, alias="async")
    worker: WorkerBlock | None = None
    max_concurrency: int = Field(default=100, ge=1)
    max_queue: int = Field(default=0, ge=0)
    queue_timeout_seconds: Seconds = 5.0
    max_body_bytes: int = Field(default=100 << 20, ge=1)
    connect_timeout_seconds: Seconds = 5.0
    head_timeout_seconds: Seconds = 300.0
    idle_timeout_seconds: Seconds = 300.0
    drain_delay_seconds: float = Field(default=2.0, ge=0, allow_inf_nan=False)


def load_config(path: Path, overrides: Iterable[str] = (), environ: Mapping[str, str] | None = None) -> Config:
    """Read, override and check a configuration. Raises ConfigError that names every wrong key."""
    document = _read(path)
    apply_overrides(document, overrides)
    values = unwrap_document(document)
    _apply_environment(values, environ or {})
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {_explain(problem)}" for problem in error.errors())) from error
    if config.worker is not None and config.worker.queue is not None and config.async_ is None:
        raise ConfigError(f"{path}: worker.queue needs an async block that says how tasks reach the model server")
    if config.sync is None and config.stream is None and config.async_ is None:
        raise ConfigError(f"{path}: none of the blocks {', '.join(BLOCKS)} is configured: there is nothing to forward")
    return config


def unwrap_document(document: dict[str, Any]) -> dict[str, Any]:
    """The keys of the forwarder, wherever the file has them.

    They stand below one top-level key of any name, below `forwarder` with more keys beside it (so that
    `max_concurrency` may be spelled with or without the prefix), or at top level.
    """
    if isinstance(inner := document.get("forwarder"), dict):
        beside = {key: value for key, value in document.items() if key != "forwarder"}
        return {**inner, **beside}
    if len(document) == 1:
        [(name, inner)] = document.items()
        if isinstance(inner, dict) and name not in (*BLOCKS, "worker"):
            return {"name": name, **inner}
    return dict(document)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"--config {path} cannot be read: {error.strerror}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"--config {path} is neither YAML nor JSON: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"--config {path}: expected a map of keys at top level")
    return document


def _apply_environment(values: dict[str, Any], environ: Mapping[str, str]) -> None:
    text = environ.get(SERIALIZE_VARIABLE)
    if text is None:
        return
    flag = parse_value(text)
    if not isinstance(flag, bool):
        raise ConfigError(f"{SERIALIZE_VARIABLE}={text}: write true or false")
    for name in ("sync", "stream"):
        if isinstance(values.get(name), dict):
            values[name] = {**values[name], "serialize_results_as_string": flag}


def _explain(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    return f"{key}: {problem['msg']} (got {problem['input']!r})"
