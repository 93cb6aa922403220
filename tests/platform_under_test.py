"""A platform that a test starts, calls, hurts and stops."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from model_engine import Bundle, Client, EndpointSettings
from model_engine.connection import Connection, resolve_admin_connection
from model_engine.retry import RetryPolicy
from model_engine_contracts.api.endpoints import GetModelEndpointV1Response
from model_engine_local.control import start_detached, stop_launcher
from model_engine_local.data_dir import DataDir, Running
from model_engine_local.launcher import UpOptions
from model_engine_local.ports import free_port
from model_engine_local.process import answers
from model_engine_local.workers import workers_of


@dataclass(slots=True)
class Platform:
    """One platform; `key` is of the owner `tester`."""

    folder: Path
    running: Running
    key: str

    @classmethod
    def start(cls, folder: Path, scale: dict[str, int], settings: dict[str, str]) -> "Platform":
        """Start everything and make a key."""
        running = start_detached(UpOptions(folder, port=free_port(), scale=scale, overrides=settings))
        platform = cls(folder, running, "")
        platform.key = platform.new_key("tester")
        return platform

    def stop(self) -> None:
        """Stop everything that runs."""
        stop_launcher(self.running.launcher)

    def new_key(self, owner: str) -> str:
        """An API key for an owner."""
        with Client(resolve_admin_connection(self.running.url, self.folder)) as administrator:
            return administrator.create_api_key(owner).key

    def client(self, key: str | None = None, **options: Any) -> Client:
        """A client that is patient with what is being restarted."""
        options.setdefault("policy", RetryPolicy(attempts=100, cap_seconds=1.0))
        return Client(Connection(self.running.url, key or self.key), **options)

    def deploy(
        self, name: str, predict: Callable[..., Any], settings: EndpointSettings, requirements: tuple[str, ...] = ()
    ) -> GetModelEndpointV1Response:
        """Deploy a function of one argument and wait until it is READY."""
        bundle = Bundle(_loader_of(predict), model={}, requirements=requirements)
        with self.client() as client:
            endpoint = client.deploy(name, bundle, settings)
            return client.wait_until_ready(endpoint.id, 60)

    def processes(self, name: str) -> list[psutil.Process]:
        """The live processes of a service, server or the agent, found by its log or module (restarts included)."""
        launcher = psutil.Process(self.running.launcher)
        return [child for child in launcher.children() if _is(child, name)]

    def kill(self, name: str) -> int:
        """SIGKILL to the first process of that name; its pid."""
        process = self.processes(name)[0]
        os.kill(process.pid, signal.SIGKILL)
        return process.pid

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """SIGSTOP to the process with this instance name, such as `cache-2`, and SIGCONT afterwards: a hung process."""
        launcher = psutil.Process(self.running.launcher)
        victim = next(child for child in launcher.children() if child.environ().get("ME_INSTANCE_ID") == name)
        victim.suspend()
        try:
            yield
        finally:
            victim.resume()

    def call_fresh(self, name: str, predict: Callable[..., Any]) -> Any:
        """Deploy a function as a sync endpoint that starts at zero, and call it with x=3."""
        endpoint = self.deploy(name, predict, EndpointSettings(endpoint_type="sync", min_workers=0))
        with self.client() as client:
            return client.predict(endpoint.id, {"x": 3}, timeout_seconds=30)

    def ready(self) -> bool:
        """Whether the gateway says that it is ready."""
        return answers(f"{self.running.url}/readyz")

    def model_servers(self) -> list[psutil.Process]:
        """The model server processes of all workers."""
        return [
            process
            for process in workers_of(self.folder / "agent")
            if any("model_engine_model_server" in word for word in _cmdline(process))
        ]

    def leftovers(self) -> list[str]:
        """The command lines of processes that still work in the platform's folder."""
        return [" ".join(_cmdline(process)) for process in workers_of(DataDir(self.folder).path)]


PlatformFactory = Callable[..., Platform]
"""Starts a platform from `scale` and settings; a fixture stops it."""


def _loader_of(predict: Callable[..., Any]) -> Callable[[Any], Callable[..., Any]]:
    def load_predict_fn(_: Any) -> Callable[..., Any]:
        return predict

    return load_predict_fn


_MODULES = {"nats": "nats-server", "mongo": "mongod", "valkey": "valkey-server", "agent": "model_engine_runtime.agent"}


def _is(process: psutil.Process, name: str) -> bool:
    wanted = _MODULES.get(name, f"model_engine_{name}")
    return any(wanted in word for word in _cmdline(process))


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
