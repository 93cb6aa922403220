"""The drivers that the contract tests run against. Another driver joins with one more `Driver` in DRIVERS."""

import asyncio
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client as Nats

from model_engine_local.testing import eventually
from model_engine_runtime.agent.app import build
from model_engine_runtime.agent.process.environment import EnvironmentBuilder
from model_engine_runtime.agent.settings import AgentSettings
from model_engine_runtime.agent_client import AgentRuntime
from model_engine_runtime.errors import RuntimeUnavailable
from model_engine_runtime.keys import environment_key, template_revision
from model_engine_runtime.protocol import (
    Environment,
    Gone,
    Preparation,
    PrepState,
    Runtime,
    SetState,
    Snapshot,
    Worker,
    WorkerSet,
    WorkerState,
)
from model_engine_runtime.wire import encode

FAKE_MODEL = Path(__file__).parent / "fake_model.py"
MIB = 1 << 20
FORWARDER_CONFIG = {
    "forwarder": {
        "sync": dict.fromkeys(("model_engine_unwrap", "wrap_response", "serialize_results_as_string"), False),
        "drain_delay_seconds": 0,
    },
    "worker": {"owner": "ada", "endpoint_id": "filled-in", "worker_id": "filled-in"},
}


class Driver(ABC):
    """One way to run workers: a runtime to call, and how to ask it for workers and environments that misbehave."""

    runtime: Runtime

    @abstractmethod
    async def start(self) -> None:
        """Make the runtime usable."""

    @abstractmethod
    async def stop(self) -> None:
        """Leave nothing behind."""

    @abstractmethod
    async def restart(self) -> None:
        """End whatever serves the runtime without a warning, and start it anew on the same data."""

    @abstractmethod
    def environment(self, variant: str = "") -> Environment:
        """Another one for each variant: `slow` takes a while, `unresolvable` cannot be made."""

    @abstractmethod
    def behaviour(self, name: str) -> Mapping[str, str]:
        """The env of workers that do: serve, import (fail with IMPORT_ERROR), silent (never READY), crash (soon after
        READY)."""

    def want(self, environment_key: str, behaviour: str = "serve", **fields: Any) -> WorkerSet:
        """A WorkerSet; fields override."""
        nonce = fields.pop("nonce", 0)
        env = {**self.behaviour(behaviour), **fields.pop("env", {})}
        want = WorkerSet(
            installation="test",
            endpoint_id="end_a",
            generation=1,
            revision="",
            environment_key=environment_key,
            command=("{python}", "-I", "-S", str(FAKE_MODEL)),
            env=env,
            cpus=1,
            memory_bytes=256 * MIB,
            forwarder_config=FORWARDER_CONFIG,
            drain_s=5.0,
        )
        want = replace(want, **fields)
        return replace(want, revision=template_revision(want, nonce))


class AgentDriver(Driver):
    """The agent in this process, over a real NATS."""

    backend = ""

    def __init__(self, nats_url: str, folder: Path) -> None:
        self.settings = AgentSettings(
            nats_url=nats_url, agent_data_dir=folder, agent_backend=self.backend, agent_name="test"
        )
        self.folder = folder
        self._stop = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.nats: Nats = await nats.connect(self.settings.nats_url)
        self.runtime = AgentRuntime(self.nats, "test")
        await self.start_agent()

    async def start_agent(self) -> None:
        """Run the agent in this process until `stop_agent`."""
        self._stop = asyncio.Event()
        self._running = asyncio.create_task(build(self.settings).run(self._stop))
        await eventually(self._answers)

    async def _answers(self) -> bool:
        if self._running is not None and self._running.done():
            self._running.result()
        with suppress(RuntimeUnavailable):
            await self.runtime.release("nothing")
            return True
        return False

    async def stop_agent(self) -> None:
        """End it as SIGTERM does."""
        if self._running is not None:
            self._stop.set()
            await self._running
            self._running = None

    @asynccontextmanager
    async def agent_process(self) -> AsyncIterator[subprocess.Popen[bytes]]:
        """The agent as a process of its own, for as long as the block."""
        settings = {
            "ME_NATS_URL": self.settings.nats_url,
            "ME_AGENT_DATA_DIR": str(self.folder),
            "ME_AGENT_NAME": "test",
            "ME_AGENT_BACKEND": self.backend,
        }
        command = [sys.executable, "-m", "model_engine_runtime.agent"]
        process = await asyncio.to_thread(subprocess.Popen, command, env={**os.environ, **settings})
        try:
            await eventually(self._answers, timeout=30)
            yield process
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait)

    async def stop(self) -> None:
        await self.stop_agent()
        await self.nats.close()

    async def restart(self) -> None:
        assert self._running is not None
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self.start_agent()


class ProcessDriver(AgentDriver):
    """Real processes."""

    backend = "process"

    async def seed(self, folder: Path) -> None:
        """Put the environment without requirements, made once for all tests, in place as a finished preparation."""
        builder = EnvironmentBuilder(1 << 20)
        key = environment_key(self.environment(), builder.platform, builder.model_server)
        if not (folder / "outcome.json").exists():
            folder.mkdir()  # noqa: ASYNC240  # before anything runs
            ref = await builder.build(self.environment(), folder / "environment", folder)
            (folder / "outcome.json").write_bytes(encode(Preparation(key, PrepState.READY, ref)))
        work = self.folder / "builds" / key
        work.mkdir(parents=True)
        (work / "request.json").write_bytes(encode(self.environment()))
        (work / "outcome.json").write_bytes((folder / "outcome.json").read_bytes())

    def environment(self, variant: str = "") -> Environment:
        lines = {"": (), "slow": ("# slow",), "unresolvable": ("idna==3.6", "idna==3.7")}
        return Environment(requirements=lines[variant])

    def behaviour(self, name: str) -> Mapping[str, str]:
        return {"PORT": "{port}", "FAKE_FAULT": "" if name == "serve" else name}


class SimulatedDriver(AgentDriver):
    """Workers that pretend."""

    backend = "simulated"

    def environment(self, variant: str = "") -> Environment:
        lines = {
            "": (),
            "slow": ("sim-build-seconds=0.2",),
            "unresolvable": ("sim-build-fails=REQUIREMENTS_UNRESOLVABLE",),
        }
        return Environment(requirements=lines[variant])

    def behaviour(self, name: str) -> Mapping[str, str]:
        return {
            "serve": {"SIM_START_SECONDS": "0.05"},
            "import": {"SIM_START_FAILS": "IMPORT_ERROR"},
            "silent": {"SIM_NEVER_READY": "1"},
            "crash": {"SIM_EXIT_AFTER_SECONDS": "0.1"},
        }[name]


DRIVERS = {"process": ProcessDriver, "simulated": SimulatedDriver}


@pytest.fixture(params=sorted(DRIVERS))
async def driver(
    request: pytest.FixtureRequest, nats_url: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Driver]:
    """A fresh, empty runtime of each kind. A test of one kind says so: parametrize("driver", ["process"], indirect)."""
    made = DRIVERS[request.param](nats_url, tmp_path / "agent")
    if isinstance(made, ProcessDriver):
        await made.seed(tmp_path_factory.getbasetemp() / "seed")
    await made.start()
    try:
        yield made
    finally:
        for state in (await Observer.look(made.runtime)).sets:
            await made.runtime.delete(state.endpoint_id, state.generation)

        async def is_empty() -> bool:
            return not (await Observer.look(made.runtime)).sets

        await eventually(is_empty, timeout=30)
        await made.stop()


@dataclass
class Observer:
    """What a watch has said."""

    runtime: Runtime
    sets: dict[str, SetState] = field(default_factory=dict)
    preparations: dict[str, Preparation] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    history: list[SetState] = field(default_factory=list)

    async def follow(self) -> None:
        async for item in self.runtime.watch():
            match item:
                case Snapshot():
                    self.snapshots.append(item)
                    self.sets = {state.endpoint_id: state for state in item.sets}
                    self.preparations = {state.key: state for state in item.preparations}
                case SetState():
                    self.history.append(item)
                    self.sets[item.endpoint_id] = item
                case Preparation():
                    self.preparations[item.key] = item
                case Gone():
                    self.gone.append(item.id)
                    self.sets.pop(item.id, None)
                    self.preparations.pop(item.id, None)

    @staticmethod
    async def look(runtime: Runtime) -> Snapshot:
        """The present snapshot."""
        async with aclosing(runtime.watch()) as watch:
            item = await anext(watch)
            assert isinstance(item, Snapshot)
            return item

    def workers(self, state: WorkerState | None = None, endpoint_id: str = "end_a") -> list[Worker]:
        known = self.sets.get(endpoint_id)
        return [worker for worker in known.workers if state in (None, worker.state)] if known else []

    async def ready(self, count: int = 1, revision: str | None = None, timeout: float = 20) -> list[Worker]:
        """Wait until exactly so many workers are READY and no others exist."""

        def reached() -> bool:
            workers = self.workers()
            ready = [w for w in workers if w.state is WorkerState.READY and revision in (None, w.revision)]
            return "end_a" in self.sets and len(ready) == count == len(workers)

        await eventually(reached, timeout)
        return self.workers()


@pytest.fixture
async def observer(driver: Driver) -> AsyncIterator[Observer]:
    """A watch of the driver under test that has had its first snapshot."""
    observing = Observer(driver.runtime)
    following = asyncio.create_task(observing.follow())
    await eventually(lambda: observing.snapshots or following.done())
    yield observing
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


@pytest.fixture
def prepared() -> Callable[[Any, str], Any]:
    """`await prepared(driver)`: the key of a READY environment."""

    async def prepare(driver: Driver, variant: str = "") -> str:
        async def ready() -> str | None:
            preparation = await driver.runtime.prepare(driver.environment(variant))
            assert preparation.state is not PrepState.FAILED, preparation.failure
            return preparation.key if preparation.state is PrepState.READY else None

        return await eventually(ready, timeout=60)

    return prepare
