"""The launcher: starts the embedded servers, the agent and the services, keeps them running, stops them in order."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_engine_local.data_dir import DataDir, Running
from model_engine_local.plan import Addresses, Secrets, process_names, service_processes
from model_engine_local.ports import free_port
from model_engine_local.process import ManagedProcess, ProcessSpec
from model_engine_local.servers import (
    BinaryNotFound,
    EmbeddedServer,
    MissingLibrary,
    MongoServer,
    NatsServer,
    ServerStartFailed,
    ValkeyServer,
)
from model_engine_local.workers import stop_all_workers

READY_SECONDS = 60.0
WATCH_SECONDS = 0.2


class StartFailedError(Exception):
    """The platform did not become ready; the message says which processes and shows the end of their logs."""


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What `model-engine up` was asked for. `scale`: processes per service; `overrides`: further ME_* settings."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 5000
    scale: Mapping[str, int] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Launcher:
    """One running platform."""

    options: UpOptions
    servers: dict[str, EmbeddedServer] = field(default_factory=dict)
    processes: list[ManagedProcess] = field(default_factory=list)

    async def run(self, stop: asyncio.Event) -> None:
        """Start everything, write the record, watch until `stop` is set, stop everything.

        Raises StartFailedError, or what a server raises that cannot start.
        """
        directory = DataDir(self.options.data_dir)
        directory.prepare()
        started = time.monotonic()
        with directory.locked():
            directory.record.unlink(missing_ok=True)
            try:
                addresses = await self._start_servers(directory)
                async with asyncio.TaskGroup() as group:
                    self._start_processes(directory, addresses, group)
                    await self._wait_ready(stop)
                    directory.write_record(self._record(addresses, time.monotonic() - started))
                    watch = group.create_task(self._watch_servers())
                    await stop.wait()
                    watch.cancel()
                    await self._stop_processes()
            finally:
                directory.record.unlink(missing_ok=True)
                await asyncio.to_thread(self._stop_servers, directory)

    async def _start_servers(self, directory: DataDir) -> Addresses:
        root = directory.path
        self.servers = {
            "nats": NatsServer(root / "nats", log=directory.logs / "nats.log"),
            "mongo": MongoServer(root / "mongo", log=directory.logs / "mongo.log"),
            "valkey": ValkeyServer(root / "valkey", log=directory.logs / "valkey.log"),
        }
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in self.servers.values()))
        return Addresses(
            nats_url=self.servers["nats"].url,
            mongo_url=self.servers["mongo"].url,
            redis_url=self.servers["valkey"].url,
            host=self.options.host,
            port=self.options.port,
            health_ports={name: free_port() for name in process_names(self.options.scale)},
        )

    def _start_processes(self, directory: DataDir, addresses: Addresses, group: asyncio.TaskGroup) -> None:
        secrets = Secrets(directory.admin_token, directory.artifact_url_secret)
        specs = service_processes(directory.path, addresses, secrets, self.options.scale, self.options.overrides)
        self.processes = [ManagedProcess(spec) for spec in specs]
        for process in self.processes:
            group.create_task(process.run())

    async def _wait_ready(self, stop: asyncio.Event) -> None:
        waiting: asyncio.Future[list[bool]] = asyncio.gather(*(process.ready.wait() for process in self.processes))
        stopping = asyncio.create_task(stop.wait())
        try:
            both: set[asyncio.Future[Any]] = {waiting, stopping}
            await asyncio.wait(both, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done() and not stop.is_set():
                late = [process.spec for process in self.processes if not process.ready.is_set()]
                await self._stop_processes()
                raise StartFailedError("\n".join(_why_not_ready(spec) for spec in late))
        finally:
            waiting.cancel()
            stopping.cancel()

    async def _watch_servers(self) -> None:
        """Start a server again that died; it comes back on its port with its data."""
        while True:
            for server in self.servers.values():
                if server.pid is None:
                    await asyncio.to_thread(server.start)
            await asyncio.sleep(WATCH_SECONDS)

    async def _stop_processes(self) -> None:
        """Services first, so that nothing asks for new workers, then the agent."""
        agent = [process for process in self.processes if process.spec.name == "agent"]
        services = [process for process in self.processes if process.spec.name != "agent"]
        await asyncio.gather(*(process.stop() for process in services))
        await asyncio.gather(*(process.stop() for process in agent))

    def _stop_servers(self, directory: DataDir) -> None:
        stop_all_workers(directory.path / "agent")
        for server in self.servers.values():
            server.stop()

    def _record(self, addresses: Addresses, seconds: float) -> Running:
        pids = {name: server.pid or 0 for name, server in self.servers.items()}
        pids |= {item.spec.name: item.process.pid for item in self.processes if item.process is not None}
        return Running(
            launcher=os.getpid(),
            started=time.time(),
            url=addresses.gateway_url,
            nats_url=addresses.nats_url,
            mongo_url=addresses.mongo_url,
            redis_url=addresses.redis_url,
            processes=pids,
            ready_seconds=round(seconds, 2),
        )


def _why_not_ready(spec: ProcessSpec) -> str:
    tail = spec.log.read_text(errors="replace")[-2000:] if spec.log.exists() else ""
    return f"{spec.name} was not ready after {READY_SECONDS:g} s. The end of {spec.log}:\n{tail}"


def main(arguments: Sequence[str]) -> int:
    """What the detached process runs; its arguments: DATA_DIR HOST PORT, then SERVICE=N and ME_NAME=VALUE pairs."""
    data_dir, host, port, *rest = arguments
    pairs = dict(item.split("=", 1) for item in rest)
    options = UpOptions(
        data_dir=Path(data_dir),
        host=host,
        port=int(port),
        scale={name: int(value) for name, value in pairs.items() if not name.startswith("ME_")},
        overrides={name: value for name, value in pairs.items() if name.startswith("ME_")},
    )
    return asyncio.run(run_until_signal(options))


async def run_until_signal(options: UpOptions) -> int:
    """Run the platform until SIGTERM or SIGINT; the exit code is 0 after an orderly stop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    failures: list[str] = []
    try:
        await Launcher(options).run(stop)
    except* (StartFailedError, ServerStartFailed, BinaryNotFound, MissingLibrary) as errors:
        failures = [str(error) for error in errors.exceptions]
    sys.stderr.write("".join(f"{failure}\n" for failure in failures))
    return 1 if failures else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
