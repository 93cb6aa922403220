"""One run of one worker as the agent sees it: a folder, the shim in it, and the two processes of the worker."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_engine_chassis.upstream import UpstreamError, UpstreamPool, UpstreamTimeout
from model_engine_contracts.failures import Reason
from model_engine_runtime.agent.backend import Exited, Post, Ready, Unready
from model_engine_runtime.agent.log_files import tail
from model_engine_runtime.agent.process.diagnosis import diagnose
from model_engine_runtime.agent.process.exit_report import failure_of
from model_engine_runtime.agent.process.identity import ProcessIdentity
from model_engine_runtime.agent.process.leftovers import kill_leftovers
from model_engine_runtime.agent.process.lock import is_held
from model_engine_runtime.protocol import Failure

STARTING_PROBE_SECONDS = 0.1
PROBE_SECONDS = 1.0
PROBE_TIMEOUT_SECONDS = 2.0
TIMEOUTS_TO_FAIL = 3
REPORT_SECONDS = 2.0
LAUNCH_SECONDS = 15.0
KILL_MARGIN_SECONDS = 12.0
"""Beyond the drain: the shim's own bounds for the model server come first."""


@dataclass(slots=True)
class ProcessRun:
    """A run whose shim has started both processes. `child` is the shim where this agent started it."""

    folder: Path
    launch: dict[str, Any]
    identities: dict[str, ProcessIdentity]
    address: str
    host: str
    pool: UpstreamPool
    released: Callable[["ProcessRun"], None]
    child: subprocess.Popen[bytes] | None = None
    _killed: Failure | None = field(default=None)

    @property
    def root(self) -> int:
        """The first process of the model server; 0 where it could not be started."""
        model = self.identities.get("model")
        return model.pid if model is not None else 0

    @property
    def limit_bytes(self) -> int:
        """The memory that the model server may use."""
        return int(self.launch["memory_bytes"])

    def exceeded(self, used_bytes: int) -> None:
        """End a model server that uses too much memory."""
        message = f"The model server used {_mib(used_bytes)} of {_mib(self.limit_bytes)} and was stopped."
        self._killed = Failure(Reason.OUT_OF_MEMORY, message, 128 + signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.root, signal.SIGKILL)

    async def observe(self, post: Post) -> None:
        """Post readiness as it changes, and the exit the moment one of the processes ends."""
        probing = asyncio.create_task(self._probe(post))
        ends = [asyncio.create_task(identity.wait()) for identity in self.identities.values()]
        try:
            if len(self.identities) == 3:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            await self._wait_for_report()
        finally:
            for task in (probing, *ends):
                task.cancel()
            await asyncio.gather(probing, *ends, return_exceptions=True)
        post(Exited(self._failure()))

    async def diagnose(self) -> Failure:
        """Why it is not ready although its time is up."""
        port, path = self.launch["model_port"], self.launch["ready_path"]
        lines = tail(self.folder, "model")
        return await diagnose(self.pool, self.root, port, path, self.launch["start_deadline_s"], lines)

    async def stop(self, drain_s: float) -> None:
        """See Run.stop. A shim that winds up already is left to it."""
        shim = self.identities["shim"]
        shim.kill(signal.SIGTERM)
        try:
            async with asyncio.timeout(drain_s + KILL_MARGIN_SECONDS):
                await shim.wait()
        except TimeoutError:
            for identity in self.identities.values():
                identity.kill()
            await shim.wait()
        if self.child is not None:
            self.child.wait()
        await asyncio.to_thread(kill_leftovers, self.folder)
        self.released(self)

    async def _probe(self, post: Post) -> None:
        host, port = self.host, int(self.launch["forwarder_port"])
        before: bool | None = None
        timeouts = 0
        while True:
            answer = await self._answers(host, port)
            timeouts = timeouts + 1 if answer is None else 0
            ready = bool(before) if answer is None and timeouts < TIMEOUTS_TO_FAIL else bool(answer)
            if ready is not before:
                post(Ready() if ready else Unready())
                before = ready
            await asyncio.sleep(PROBE_SECONDS if ready else STARTING_PROBE_SECONDS)

    async def _answers(self, host: str, port: int) -> bool | None:
        """Whether the forwarder says ready; None where it says nothing: it may only be short of processor time."""
        try:
            async with (
                asyncio.timeout(PROBE_TIMEOUT_SECONDS),
                self.pool.request(host, port, b"GET", b"/readyz") as answer,
            ):
                return answer.status == 200
        except (UpstreamTimeout, TimeoutError):
            return None
        except UpstreamError:
            return False

    async def _wait_for_report(self) -> None:
        """The shim writes it within milliseconds, unless it was killed itself."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + REPORT_SECONDS
        while not (self.folder / "exit.json").exists() and loop.time() < deadline:
            if not self.identities["shim"].alive():
                return
            await asyncio.sleep(0.005)

    def _failure(self) -> Failure:
        failure = failure_of(self.folder)
        killed = self._killed
        return failure if killed is None else Failure(killed.reason, killed.message, killed.exit_code, failure.log_tail)


async def read_identities(folder: Path) -> dict[str, ProcessIdentity] | None:
    """The processes of a run whose shim lives, once it has started them; None where the shim ended before that."""
    async with asyncio.timeout(LAUNCH_SECONDS):
        while True:
            try:
                content = json.loads((folder / "shim.json").read_bytes())
            except FileNotFoundError:
                if not is_held(folder / "lock"):
                    return None
                await asyncio.sleep(0.01)
            else:
                return {name: ProcessIdentity(pid, start) for name, (pid, start) in content.items()}


def _mib(number: int) -> str:
    return f"{number / (1 << 20):.0f} MiB"
