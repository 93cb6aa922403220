"""What is started for one run: command lines, environments and the forwarder's configuration. Pure."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_engine_runtime.agent.backend import RunId
from model_engine_runtime.agent.settings import AgentSettings
from model_engine_runtime.protocol import WorkerSet

LOG_BYTES = 4 << 20
"""Size at which a log file is followed by the next; two are kept."""

INHERITED = ("LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""What user code gets of the agent's own environment."""

BLOCKS = ("sync", "stream", "async")


@dataclass(frozen=True, slots=True)
class Host:
    """What all runs have in common: the agent's interpreter, the variables that workers inherit from it, and the
    settings of forwarders."""

    python: str
    inherited: Mapping[str, str]
    forwarder_settings: Mapping[str, str]
    path: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where one run lives: its folder, its environment, and the ports chosen for it."""

    folder: Path
    environment: Path
    secrets: Path
    bind_host: str
    model_port: int
    forwarder_port: int


def host_of(settings: AgentSettings, environ: Mapping[str, str], python: str) -> Host:
    """The host as the agent's settings and environment say."""
    credentials = settings.nats_credentials_file
    forwarder = {
        "ME_NATS_URL": settings.nats_url,
        "ME_NATS_TOKEN": settings.nats_token,
        "ME_NATS_CREDENTIALS_FILE": None if credentials is None else str(credentials),
        "ME_LOG_LEVEL": settings.log_level,
        "ME_LOG_FORMAT": settings.log_format,
    }
    return Host(
        python=python,
        inherited={name: environ[name] for name in INHERITED if name in environ},
        forwarder_settings={name: value for name, value in forwarder.items() if value is not None},
        path=environ.get("PATH", os.defpath),
    )


def launch_document(run: RunId, want: WorkerSet, place: Place, host: Host) -> dict[str, Any]:
    """The content of launch.json."""
    home = str(place.folder / "home")
    return {
        "drain_s": want.drain_s,
        "log_bytes": LOG_BYTES,
        "model": {
            "command": [_fill(word, place) for word in want.command],
            "env": _model_environment(want, place, host),
            "cwd": home,
        },
        "forwarder": {
            "command": [
                *(host.python, "-m", "model_engine_forwarder", "--config", str(place.folder / "forwarder.json")),
                *("--num-workers", "1", "--host", place.bind_host, "--port", str(place.forwarder_port)),
                *("--graceful-timeout", str(max(1, round(want.drain_s)))),
            ],
            "env": _forwarder_environment(run, place, host),
            "cwd": home,
        },
        "memory_bytes": want.memory_bytes,
        "start_deadline_s": want.start_deadline_s,
        "forwarder_port": place.forwarder_port,
        "model_port": place.model_port,
        "ready_path": want.ready_path,
    }


def forwarder_config(run: RunId, want: WorkerSet, place: Place) -> dict[str, Any]:
    """The forwarder's configuration with the worker's id and the model's port and ready route filled in."""
    given = dict(want.forwarder_config)
    inner = given.get("forwarder")
    config = {**inner, **{k: v for k, v in given.items() if k != "forwarder"}} if isinstance(inner, Mapping) else given
    for name in BLOCKS:
        if isinstance(block := config.get(name), Mapping):
            chosen = {"user_hostname": "127.0.0.1", "user_port": place.model_port}
            config[name] = {"healthcheck_route": want.ready_path, **block, **chosen}
    if isinstance(worker := config.get("worker"), Mapping):
        config["worker"] = {**worker, "endpoint_id": run.endpoint_id, "worker_id": run.worker_id}
    return {"forwarder": config}


def bind_host_of(advertised: str) -> str:
    """Where forwarders listen when they are reached under this name: only locally where it is a local one."""
    return "127.0.0.1" if advertised in ("127.0.0.1", "localhost") else "0.0.0.0"  # noqa: S104  # it is advertised


def _model_environment(want: WorkerSet, place: Place, host: Host) -> dict[str, str]:
    """User code gets its own variables and the basics, nothing of the agent's settings."""
    threads = str(max(1, int(want.cpus)))
    return {
        **host.inherited,
        "PATH": os.pathsep.join([str(place.environment / "venv" / "bin"), host.path]),
        "VIRTUAL_ENV": str(place.environment / "venv"),
        "HOME": str(place.folder / "home"),
        "TMPDIR": str(place.folder / "tmp"),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": threads,
        "ME_DRAIN_SECONDS": str(max(1, round(want.drain_s))),
        **{name: _fill(value, place) for name, value in want.env.items()},
        "ME_TERMINATION_FILE": str(place.folder / "termination.json"),
        "ME_WORKER_RUN": str(place.folder),
    }


def _forwarder_environment(run: RunId, place: Place, host: Host) -> dict[str, str]:
    return {
        **host.inherited,
        **host.forwarder_settings,
        "PATH": host.path,
        "HOME": str(place.folder / "home"),
        "TMPDIR": str(place.folder / "tmp"),
        "ME_INSTANCE_ID": run.worker_id,
        "ME_WORKER_RUN": str(place.folder),
    }


def _fill(text: str, place: Place) -> str:
    values = {
        "{python}": str(place.environment / "venv" / "bin" / "python"),
        "{artifact}": str(place.environment / "artifact"),
        "{port}": str(place.model_port),
        "{secrets}": str(place.secrets),
    }
    for name, value in values.items():
        text = text.replace(name, value)
    return text
