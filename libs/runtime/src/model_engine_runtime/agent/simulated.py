"""Workers that only pretend, by the thousand: the control plane at scale, and faults on demand.

A worker's script is in the `env` of its WorkerSet, or in the bundle's app config (the variable USER_CONFIG):

SIM_START_SECONDS       until it is READY (0)
SIM_START_FAILS         reason with which each start ends instead, such as IMPORT_ERROR
SIM_FAILING_STARTS      only so many starts of a worker fail; the next one succeeds
SIM_NEVER_READY         1: it starts and never becomes READY
SIM_EXIT_AFTER_SECONDS  after so long READY it exits with code 1
SIM_DRAIN_SECONDS       how long it takes to end (0)
SIM_ADDRESS             host:port that it claims (127.0.0.1:9)

An environment's script is in its requirements: `sim-build-seconds=2`, `sim-build-fails=BUILD_FAILED`.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model_engine_contracts.failures import Reason
from model_engine_runtime.agent.backend import BuildFailed, Exited, Post, Ready, RunEnded, RunId
from model_engine_runtime.agent.log_files import file_name
from model_engine_runtime.agent.preparations import BUILD_LOG
from model_engine_runtime.protocol import Environment, Failure, WorkerSet

NOWHERE = "127.0.0.1:9"


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """One run by its script. `starting` is False for an adopted run, which was READY before."""

    script: Mapping[str, str]
    run: int
    starting: bool = True

    @property
    def address(self) -> str:
        """What the script says."""
        return self.script.get("SIM_ADDRESS", NOWHERE)

    async def observe(self, post: Post) -> None:
        """Play the script."""
        if self.starting:
            await asyncio.sleep(float(self.script.get("SIM_START_SECONDS", "0")))
            reason = self.script.get("SIM_START_FAILS")
            if reason is not None and self.run <= int(self.script.get("SIM_FAILING_STARTS", "1000000000")):
                post(Exited(Failure(Reason(reason), f"The script says {reason}.", exit_code=1)))
                return
        if self.script.get("SIM_NEVER_READY") == "1":
            return
        post(Ready())
        if (seconds := self.script.get("SIM_EXIT_AFTER_SECONDS")) is not None:
            await asyncio.sleep(float(seconds))
            post(Exited(Failure(Reason.EXITED, "The script says to exit.", exit_code=1)))

    async def diagnose(self) -> Failure:
        """It never means to be ready."""
        return Failure(Reason.NEVER_READY, "The script says never to be ready.")

    async def stop(self, drain_s: float) -> None:
        """End after the time in the script."""
        await asyncio.sleep(min(drain_s, float(self.script.get("SIM_DRAIN_SECONDS", "0"))))


def script_of(want: WorkerSet) -> dict[str, str]:
    """The script of a set's workers."""
    config = json.loads(want.env.get("USER_CONFIG", "{}"))
    chosen = config if isinstance(config, dict) else {}
    return {name: str(value) for name, value in chosen.items() if name.startswith("SIM_")} | dict(want.env)


class SimulatedBackend:
    """Holds nothing: a run is its script."""

    @property
    def identity(self) -> tuple[str, str]:
        """Platform and model server version."""
        return "simulated", "1"

    def refusal(self, want: WorkerSet) -> Failure | None:
        """GPUs do not exist here."""
        return Failure(Reason.UNSCHEDULABLE, "This host has no GPU.") if want.gpus else None

    async def background(self) -> None:
        """Nothing to watch."""

    async def build(self, environment: Environment, folder: Path, work: Path) -> str:
        """Play the script in the requirements."""
        script = dict(line.split("=", 1) for line in environment.requirements if line.startswith("sim-"))
        (work / file_name(BUILD_LOG, 0)).write_text(f"simulated build: {script}\n")
        await asyncio.sleep(float(script.get("sim-build-seconds", "0")))
        if (reason := script.get("sim-build-fails")) is not None:
            raise BuildFailed(Failure(Reason(reason), f"The script says {reason}.", exit_code=1))
        return str(folder)

    async def start(self, run: RunId, want: WorkerSet, ref: str) -> SimulatedRun:
        """A run from its beginning."""
        return SimulatedRun(script_of(want), run.run)

    async def adopt(self, run: RunId, want: WorkerSet) -> SimulatedRun:
        """A run that goes on; those that fail have failed meanwhile."""
        script = script_of(want)
        if "SIM_START_FAILS" in script:
            raise RunEnded(None)
        return SimulatedRun(script, run.run, starting=False)

    async def write_secrets(self, want: WorkerSet) -> None:
        """Nobody reads them."""

    async def clear(self, endpoint_id: str, worker_id: str) -> None:
        """Nothing is left behind."""

    async def clear_endpoint(self, endpoint_id: str) -> None:
        """Nothing is left behind."""

    async def clear_strangers(self, known: frozenset[str]) -> None:
        """There are none."""

    def log_folder(self, run: RunId) -> Path:
        """There is no log."""
        return Path("/nonexistent")
