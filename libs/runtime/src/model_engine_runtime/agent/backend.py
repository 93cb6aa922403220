"""What the agent needs of a backend: making environments, and running one worker once. Everything else is shared."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from model_engine_runtime.protocol import Environment, Failure, WorkerSet


@dataclass(frozen=True, slots=True)
class RunId:
    """One run of one worker; a restart is the next run."""

    endpoint_id: str
    worker_id: str
    run: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker answers its readiness route."""


@dataclass(frozen=True, slots=True)
class Unready:
    """The worker does not answer it any more, and lives."""


@dataclass(frozen=True, slots=True)
class Exited:
    """The run is over, or is being wound up. The last event of a run."""

    failure: Failure


RunEvent = Ready | Unready | Exited
Post = Callable[[RunEvent], None]


class BuildFailed(Exception):
    """An environment could not be made."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class RunEnded(Exception):
    """There is nothing to adopt: the run ended while the agent was away. `failure` is None if it never began."""

    def __init__(self, failure: Failure | None) -> None:
        super().__init__(failure.message if failure else "never started")
        self.failure = failure


class Run(Protocol):
    """A worker that has been started."""

    @property
    def address(self) -> str:
        """host:port of its forwarder."""
        ...

    async def observe(self, post: Post) -> None:
        """Post what happens until `Exited`; cancelled when nobody wants to know any more."""
        ...

    async def diagnose(self) -> Failure:
        """Why it is not ready although its time is up."""
        ...

    async def stop(self, drain_s: float) -> None:
        """Let it finish what it does, for `drain_s` at most, and return when no process of it is left."""
        ...


class Backend(Protocol):
    """Where workers really run."""

    @property
    def identity(self) -> tuple[str, str]:
        """Platform and model server version: both are part of every environment's key."""
        ...

    def refusal(self, want: WorkerSet) -> Failure | None:
        """Why this host can never run such a worker; None where it can."""
        ...

    async def background(self) -> None:
        """Whatever watches all workers at once; runs as long as the agent."""
        ...

    async def build(self, environment: Environment, folder: Path, work: Path) -> str:
        """Make an environment in `folder` and return its ref; the log goes to `work`.

        What is in the folder is left of an interrupted build. Raises BuildFailed; cancelled at its deadline.
        """
        ...

    async def start(self, run: RunId, want: WorkerSet, ref: str) -> Run:
        """Start a worker. Raises RunEnded where it ended at once."""
        ...

    async def adopt(self, run: RunId, want: WorkerSet) -> Run:
        """Take over a run that an earlier agent started. Raises RunEnded."""
        ...

    async def write_secrets(self, want: WorkerSet) -> None:
        """Put the secrets of an endpoint where its workers read them, those that run already too."""
        ...

    async def clear(self, endpoint_id: str, worker_id: str) -> None:
        """Remove what a worker left behind; none of its runs lives."""
        ...

    async def clear_endpoint(self, endpoint_id: str) -> None:
        """Remove what an endpoint left behind; it has no workers any more."""
        ...

    async def clear_strangers(self, known: frozenset[str]) -> None:
        """End and remove workers on this host that are not among the known ids."""
        ...

    def log_folder(self, run: RunId) -> Path:
        """Where the log of a run lies; need not exist."""
        ...
