"""What the worker's environment says: where the bundle is, how to load it, where and how to serve it."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUNDLE_KINDS = ("cloudpickle", "zip")

TABLE = """\
| variable | default | meaning |
|---|---|---|
| PORT | 5005 | TCP port to listen on |
| ME_MODEL_HOST | 127.0.0.1 | address to listen on |
| ME_BUNDLE_KIND | required | cloudpickle or zip |
| ME_ARTIFACT_PATH | required | the bundle's artifact, a pickle or a zip file |
| ME_LOAD_PREDICT_FN_MODULE_PATH | required for zip | dotted name of load_predict_fn(config, model) |
| ME_LOAD_MODEL_FN_MODULE_PATH | required for zip | dotted name of load_model_fn(config) |
| USER_CONFIG | none | the bundle's app_config as JSON text |
| ME_TERMINATION_FILE | none | file that gets {code, message, traceback} when loading fails |
| ME_MODEL_CONCURRENCY | 1 | calls of the predict function that run at once |
| ME_MODEL_QUEUE_SIZE | 32 | calls that may wait for a turn; the next one is answered 429 |
| ME_DRAIN_SECONDS | 30 | seconds that running calls have left after SIGTERM |
| ME_REFUSE_PICKLED_INPUT | no | `1`: refuse `cloudpickle` inputs, which run code of whoever sends them |
| ME_URL_MAX_BYTES | 104857600 | largest object that a `url` input may name |
| ME_URL_TIMEOUT_SECONDS | 60 | seconds that the download of a `url` input may take |
"""


class SettingsError(ValueError):
    """One line for every variable that is missing or wrong."""


@dataclass(frozen=True)
class Settings:
    """The environment of one model server, checked; `TABLE` explains each field."""

    bundle_kind: str
    artifact_path: Path
    load_predict_fn: str | None = None
    load_model_fn: str | None = None
    user_config: Any = None
    termination_file: Path | None = None
    host: str = "127.0.0.1"
    port: int = 5005
    concurrency: int = 1
    queue_size: int = 32
    drain_seconds: int = 30
    refuse_pickled_input: bool = False
    url_max_bytes: int = 100 * 1024 * 1024
    url_timeout_seconds: int = 60


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in `environ`; raises SettingsError naming every wrong variable at once."""
    problems: list[str] = []
    defaults = Settings("cloudpickle", Path())

    def read(name: str, parse: Callable[[str], Any], default: Any) -> Any:
        text = environ.get(name, "")
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            problems.append(f"{name}: {error}")
            return default

    kind = environ.get("ME_BUNDLE_KIND", "")
    if kind not in BUNDLE_KINDS:
        problems.append(f"ME_BUNDLE_KIND: must be cloudpickle or zip, not {kind!r}")
    artifact = environ.get("ME_ARTIFACT_PATH", "")
    if not artifact:
        problems.append("ME_ARTIFACT_PATH: is required")
    load_predict_fn = environ.get("ME_LOAD_PREDICT_FN_MODULE_PATH") or None
    load_model_fn = environ.get("ME_LOAD_MODEL_FN_MODULE_PATH") or None
    if kind == "zip":
        names = ("ME_LOAD_PREDICT_FN_MODULE_PATH", "ME_LOAD_MODEL_FN_MODULE_PATH")
        problems.extend(f"{name}: is required for a zip bundle" for name in names if not environ.get(name))
    settings = Settings(
        bundle_kind=kind,
        artifact_path=Path(artifact),
        load_predict_fn=load_predict_fn,
        load_model_fn=load_model_fn,
        user_config=read("USER_CONFIG", json.loads, None),
        termination_file=read("ME_TERMINATION_FILE", Path, None),
        host=read("ME_MODEL_HOST", str, defaults.host),
        port=read("PORT", _at_least(0), defaults.port),
        concurrency=read("ME_MODEL_CONCURRENCY", _at_least(1), defaults.concurrency),
        queue_size=read("ME_MODEL_QUEUE_SIZE", _at_least(0), defaults.queue_size),
        drain_seconds=read("ME_DRAIN_SECONDS", _at_least(0), defaults.drain_seconds),
        refuse_pickled_input=bool(read("ME_REFUSE_PICKLED_INPUT", _at_least(0), 0)),
        url_max_bytes=read("ME_URL_MAX_BYTES", _at_least(1), defaults.url_max_bytes),
        url_timeout_seconds=read("ME_URL_TIMEOUT_SECONDS", _at_least(1), defaults.url_timeout_seconds),
    )
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if value < least:
            raise ValueError(f"must be at least {least}, not {value}")
        return value

    return parse
