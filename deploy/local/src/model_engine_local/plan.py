"""Which service processes make the platform on one machine, and the settings each of them gets."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model_engine_local.process import ProcessSpec

SERVICES = ("gateway", "builder", "cache", "autoscaler")
SCALABLE = frozenset(SERVICES)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the embedded servers and the gateway answer; `health_ports` has one port per process name."""

    nats_url: str
    mongo_url: str
    redis_url: str
    host: str
    port: int
    health_ports: Mapping[str, int]

    @property
    def gateway_url(self) -> str:
        """Where clients and the preparer of environments reach the gateway."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets of one data directory, each in a file of mode 0600."""

    admin_token_file: Path
    artifact_url_secret_file: Path


def process_names(scale: Mapping[str, int]) -> list[str]:
    """The names of all service processes: `builder`, or `builder-1` and `builder-2` when scaled."""
    names = ["agent"]
    for service in SERVICES:
        count = scale.get(service, 1)
        names += [service] if count == 1 else [f"{service}-{number}" for number in range(1, count + 1)]
    return names


def service_processes(
    data_dir: Path, addresses: Addresses, secrets: Secrets, scale: Mapping[str, int], overrides: Mapping[str, str]
) -> list[ProcessSpec]:
    """One spec per process of the agent and the services. `overrides` are further ME_* settings for all of them."""
    return [
        ProcessSpec(
            name=name,
            command=(sys.executable, "-m", _module(name)),
            env=_settings(name, data_dir, addresses, secrets, scale) | dict(overrides),
            log=data_dir / "logs" / f"{name}.log",
            ready_url=f"http://127.0.0.1:{addresses.health_ports[name]}/readyz",
            stop_seconds=20.0,
        )
        for name in process_names(scale)
    ]


def _service(name: str) -> str:
    return name.rsplit("-", 1)[0] if name[-1].isdigit() else name


def _module(name: str) -> str:
    return "model_engine_runtime.agent" if name == "agent" else f"model_engine_{_service(name)}"


def _settings(
    name: str, data_dir: Path, addresses: Addresses, secrets: Secrets, scale: Mapping[str, int]
) -> dict[str, str]:
    settings = {
        "ME_NATS_URL": addresses.nats_url,
        "ME_HEALTH_HOST": "127.0.0.1",
        "ME_HEALTH_PORT": str(addresses.health_ports[name]),
        "ME_INSTANCE_ID": name,
        "ME_AGENT_NAME": "local",
        "ME_DRAIN_SECONDS": "10",
    }
    if name == "agent":
        return settings | {"ME_AGENT_DATA_DIR": str(data_dir / "agent")}
    settings |= {"ME_MONGO_URL": addresses.mongo_url, "ME_REDIS_URL": addresses.redis_url, "ME_RUNTIME": "agent"}
    match _service(name):
        case "gateway":
            settings |= {
                "ME_HOST": addresses.host,
                "ME_PORT": str(addresses.port),
                "ME_GATEWAY_URL": addresses.gateway_url,
                "ME_REUSE_PORT": str(scale.get("gateway", 1) > 1).lower(),
                "ME_ADMIN_TOKEN_FILE": str(secrets.admin_token_file),
                "ME_ARTIFACT_URL_SECRET_FILE": str(secrets.artifact_url_secret_file),
            }
        case "builder":
            settings |= {
                "ME_GATEWAY_URL": addresses.gateway_url,
                "ME_ARTIFACT_URL_SECRET_FILE": str(secrets.artifact_url_secret_file),
            }
    return settings
