"""The process backend: where runs lie on disk, how they are started, adopted and removed.

workers/<endpoint>/<worker>/<run>/   launch.json, what the shim writes, logs, termination.json, home, tmp
workers/<endpoint>/secrets/          one file per secret, shared by the endpoint's workers
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from model_engine_chassis.upstream import UpstreamPool
from model_engine_contracts.failures import Reason
from model_engine_runtime.agent.backend import RunEnded, RunId
from model_engine_runtime.agent.files import remove_tree, write_atomically
from model_engine_runtime.agent.process import shim
from model_engine_runtime.agent.process.environment import EnvironmentBuilder
from model_engine_runtime.agent.process.exit_report import failure_of
from model_engine_runtime.agent.process.launch import Place, bind_host_of, forwarder_config, host_of, launch_document
from model_engine_runtime.agent.process.leftovers import kill_leftovers, processes_of
from model_engine_runtime.agent.process.lock import held, is_held
from model_engine_runtime.agent.process.memory import MemoryWatch
from model_engine_runtime.agent.process.ports import Ports
from model_engine_runtime.agent.process.run import ProcessRun, read_identities
from model_engine_runtime.agent.settings import AgentSettings
from model_engine_runtime.protocol import Environment, Failure, WorkerSet

SECRETS = "secrets"
GPUS = Path("/proc/driver/nvidia/gpus")
PROBE_HOST = "127.0.0.1"


class ProcessBackend:
    """Workers as processes of this host."""

    def __init__(self, settings: AgentSettings) -> None:
        self._workers = settings.agent_data_dir.absolute() / "workers"
        self._advertise = settings.agent_advertise_host
        self._bind = bind_host_of(settings.agent_advertise_host)
        self._host = host_of(settings, os.environ, sys.executable)
        self._builder = EnvironmentBuilder(settings.agent_max_artifact_bytes)
        self._ports = Ports(self._bind)
        # A connection that is kept would make each drain of a forwarder wait for it.
        self._pool = UpstreamPool(
            max_connections=4, connect_timeout=2.0, head_timeout=2.0, idle_timeout=2.0, keep_alive=0.01
        )
        self._memory = MemoryWatch()

    @property
    def identity(self) -> tuple[str, str]:
        """Platform and model server version."""
        return self._builder.platform, self._builder.model_server

    def refusal(self, want: WorkerSet) -> Failure | None:
        """Memory, GPUs and nodes that are not there; processors are shared."""
        memory, gpus = psutil.virtual_memory().total, _count_gpus()
        if want.memory_bytes > memory:
            message = f"A worker asks for {want.memory_bytes} B of memory; this host has {memory} B."
        elif want.gpus > gpus:
            message = f"A worker asks for {want.gpus} GPUs; this host has {gpus}."
        elif want.nodes_per_worker > 1:
            message = f"A worker asks for {want.nodes_per_worker} nodes; workers of this runtime run on one."
        else:
            return None
        return Failure(Reason.UNSCHEDULABLE, message)

    async def background(self) -> None:
        """Watch the memory of all workers."""
        await self._memory.run()

    async def build(self, environment: Environment, folder: Path, work: Path) -> str:
        """See Backend.build."""
        return await self._builder.build(environment, folder, work)

    async def start(self, run: RunId, want: WorkerSet, ref: str) -> ProcessRun:
        """See Backend.start."""
        folder = self.log_folder(run)
        if run.run > 1:
            await asyncio.to_thread(kill_leftovers, folder.parent)
            await asyncio.to_thread(remove_tree, folder.parent / str(run.run - 2))
        place = Place(
            folder=folder,
            environment=Path(ref),
            secrets=self._workers / run.endpoint_id / SECRETS,
            bind_host=self._bind,
            model_port=want.model_port or self._ports.take(),
            forwarder_port=self._ports.take(),
        )
        launch = launch_document(run, want, place, self._host)
        with self._giving_back(launch):
            await asyncio.to_thread(self._write_run, place, want, launch, forwarder_config(run, want, place))
            child = _start_shim(folder)
            return await self._attach(folder, launch, child)

    async def adopt(self, run: RunId, want: WorkerSet) -> ProcessRun:
        """See Backend.adopt."""
        folder = self.log_folder(run)
        if not is_held(folder / "lock"):
            await asyncio.to_thread(kill_leftovers, folder)
            began = (folder / "shim.json").exists()
            raise RunEnded(await asyncio.to_thread(failure_of, folder) if began else None)
        launch = json.loads((folder / "launch.json").read_bytes())
        with self._giving_back(launch):
            for port in _ports_of(launch):
                self._ports.hold(port)
            return await self._attach(folder, launch, None)

    async def write_secrets(self, want: WorkerSet) -> None:
        """See Backend.write_secrets."""
        await asyncio.to_thread(self._write_secrets, want)

    async def clear(self, endpoint_id: str, worker_id: str) -> None:
        """See Backend.clear."""
        await asyncio.to_thread(remove_tree, self._workers / endpoint_id / worker_id)

    async def clear_endpoint(self, endpoint_id: str) -> None:
        """See Backend.clear_endpoint."""
        await asyncio.to_thread(remove_tree, self._workers / endpoint_id)

    async def clear_strangers(self, known: frozenset[str]) -> None:
        """See Backend.clear_strangers."""
        await asyncio.to_thread(self._clear_strangers, known)

    def log_folder(self, run: RunId) -> Path:
        """The folder of a run."""
        return self._workers / run.endpoint_id / run.worker_id / str(run.run)

    async def _attach(self, folder: Path, launch: dict[str, Any], child: subprocess.Popen[bytes] | None) -> ProcessRun:
        try:
            identities = await read_identities(folder)
        except TimeoutError:
            identities = None
        if identities is None:
            if child is not None:
                child.kill()
                child.wait()
            raise RunEnded(Failure(Reason.EXITED, "The worker's supervisor process did not start; see shim.log."))
        address = f"{self._advertise}:{launch['forwarder_port']}"
        run = ProcessRun(folder, launch, identities, address, PROBE_HOST, self._pool, self._released, child)
        if run.root:
            self._memory.watched[run.root] = run
        return run

    def _released(self, run: ProcessRun) -> None:
        """A run has ended with all its processes."""
        self._memory.watched.pop(run.root, None)
        for port in _ports_of(run.launch):
            self._ports.give_back(port)

    @contextmanager
    def _giving_back(self, launch: dict[str, Any]) -> Iterator[None]:
        """The ports of a run that does not come to life are free again."""
        try:
            yield
        except (OSError, RunEnded):
            for port in _ports_of(launch):
                self._ports.give_back(port)
            raise

    def _write_run(self, place: Place, want: WorkerSet, launch: dict[str, Any], config: dict[str, Any]) -> None:
        for name in ("home", "tmp"):
            (place.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        self._write_secrets(want)
        write_atomically(place.folder / "forwarder.json", json.dumps(config).encode())
        write_atomically(place.folder / "launch.json", json.dumps(launch).encode())

    def _write_secrets(self, want: WorkerSet) -> None:
        folder = self._workers / want.endpoint_id / SECRETS
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, content in want.secrets.items():
            write_atomically(folder / name, content)
        for path in folder.iterdir():
            if path.name not in want.secrets:
                path.unlink()

    def _clear_strangers(self, known: frozenset[str]) -> None:
        for worker in self._workers.glob("*/wrk_*"):
            if worker.name not in known:
                for process in processes_of(worker):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.send_signal(signal.SIGTERM)
                kill_leftovers(worker)
                remove_tree(worker)


def _start_shim(folder: Path) -> subprocess.Popen[bytes]:
    """In a session of its own, so that nothing that ends the agent ends it; its environment is empty but for the mark
    by which leftovers are found."""
    command = [sys.executable, "-I", "-S", "-X", "utf8", str(shim.__file__), str(folder)]
    with held(folder / "lock") as lock, (folder / "shim.log").open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=folder,
            env={"ME_WORKER_RUN": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(lock,),
            start_new_session=True,
        )


def _ports_of(launch: dict[str, Any]) -> tuple[int, int]:
    return launch["model_port"], launch["forwarder_port"]


def _count_gpus() -> int:
    return len(list(GPUS.iterdir())) if GPUS.exists() else 0
