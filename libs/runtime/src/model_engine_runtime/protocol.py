"""The Runtime protocol: how builder, cache and autoscaler speak to whatever runs the workers.

Every call is idempotent and returns once the wish is durable; what becomes of it arrives through `watch()`. Any call
may raise RuntimeUnavailable (no answer in time: the wish may or may not have been taken, repeat it) and InvalidRequest.
Times are seconds, moments are Unix time, sizes bytes, processors cores.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Protocol

from pydantic import ConfigDict

from model_engine_contracts.failures import Reason


class PrepState(StrEnum):
    """How far a preparation is."""

    QUEUED = "QUEUED"
    BUILDING = "BUILDING"
    READY = "READY"
    FAILED = "FAILED"


class WorkerState(StrEnum):
    """What a worker does. A worker that a SetState does not name is gone.

    READY is the only state to send requests to. UNREADY ran well before and does not answer now; BACKOFF waits for its
    next start; DRAINING finishes what it has and ends.
    """

    PENDING = "PENDING"
    STARTING = "STARTING"
    READY = "READY"
    UNREADY = "UNREADY"
    BACKOFF = "BACKOFF"
    DRAINING = "DRAINING"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something failed. `exit_code` is 128 plus the number of the signal that ended the process, if one did."""

    reason: Reason
    message: str
    exit_code: int | None = None
    log_tail: str = ""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a worker needs on disk before it starts; equal environments are shared. `python` is such as `3.11`.

    An artifact is known by its SHA-256, or, where nobody knows that, by its location and the version that its source
    names. `artifact_url` is where it can be read for now; it is no part of the identity.
    """

    image: str | None = None
    python: str | None = None
    requirements: tuple[str, ...] = ()
    artifact_sha256: str | None = None
    artifact_location: str | None = None
    artifact_version: str | None = None
    artifact_url: str | None = field(default=None, compare=False, repr=False)
    deadline_s: float = 1500.0


@dataclass(frozen=True, slots=True)
class Preparation:
    """The state of one environment. `key` names it, `ref` is a folder or an image digest once READY.

    `changed_at` is when it came into its state: a FAILED one from before a rollout began may be released and prepared
    anew, one from after it is the rollout's answer.
    """

    key: str
    state: PrepState
    ref: str | None = None
    failure: Failure | None = None
    changed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerSet:
    """The desired workers of one endpoint, but for their number, which `scale` sets.

    `revision` is the hash of the template (keys.template_revision): equal means that no worker is touched. In `command`
    and in the values of `env`, `{python}` stands for the environment's interpreter, `{artifact}` for the artifact's
    file, `{port}` for the model's port and `{secrets}` for the folder with a file for each of `secrets`. A `model_port`
    of 0 lets the driver choose one per worker. `secrets` are no part of the revision and may be renewed in place.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    installation: str
    endpoint_id: str
    generation: int
    revision: str
    environment_key: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    cpus: float
    memory_bytes: int
    forwarder_config: Mapping[str, object]
    model_port: int = 0
    ready_path: str = "/readyz"
    storage_bytes: int | None = None
    gpus: int = 0
    gpu_type: str | None = None
    nodes_per_worker: int = 1
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    start_deadline_s: float = 600.0
    drain_s: float = 30.0
    initial_replicas: int = 1


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker. The id stays over restarts; `address` (host:port of its forwarder) does not.

    `failure` is why the last run ended (CRASH_LOOP at three exits within 60 s without 30 s READY between, the last
    cause in its message); it stays until the worker is READY again.
    """

    id: str
    revision: str
    state: WorkerState
    address: str | None = None
    restarts: int = 0
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class SetState:
    """All workers of one endpoint as they are now. `generation`, `revision` and `replicas` are the desired ones.

    `failure` says why no worker of the desired revision is READY, as soon as the first of them has failed; the driver
    goes on trying. Workers of older revisions may be READY meanwhile.
    """

    endpoint_id: str
    generation: int
    revision: str
    replicas: int
    workers: tuple[Worker, ...] = ()
    failure: Failure | None = None
    created_at: float = 0.0
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the runtime holds; replaces whatever was known before.

    `installation` is the one that has claimed the runtime; None while nobody has.
    """

    installation: str | None
    sets: tuple[SetState, ...] = ()
    preparations: tuple[Preparation, ...] = ()


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing is left of this endpoint's workers, or of this environment."""

    id: str


Change = SetState | Preparation | Gone


class Runtime(Protocol):
    """A place where workers run."""

    async def prepare(self, environment: Environment) -> Preparation:
        """Have an environment made, and say how far it is and what its key is.

        One build per key at a time; it survives its caller and the runtime's own restart. A READY or FAILED one is
        answered as it is: `release` a FAILED one to try again.
        """
        ...

    async def release(self, key: str) -> None:
        """Remove an environment; `Gone` follows, also when there was none. Raises EnvironmentInUse."""
        ...

    async def apply(self, want: WorkerSet) -> None:
        """Make these the endpoint's workers: those of a new revision start beside the old, which stay until they are
        replaced by READY ones.

        The first apply claims the runtime for its installation. Raises ForeignInstallation, StaleGeneration (older than
        the stored one, or the endpoint is deleted) and EnvironmentNotReady.
        """
        ...

    async def scale(self, endpoint_id: str, replicas: int, epoch: int) -> None:
        """Set the number of workers. Raises StaleLeader (a newer epoch has scaled before) and UnknownEndpoint."""
        ...

    async def delete(self, endpoint_id: str, generation: int) -> None:
        """Drain and remove all workers; done at `Gone`, which also follows when there was nothing.

        Raises StaleGeneration where a newer generation is stored.
        """
        ...

    def watch(self) -> AsyncGenerator[Snapshot | Change, None]:
        """A Snapshot first and after every gap, then changes. Raises RuntimeUnavailable after 10 s of silence."""
        ...

    def logs(
        self, target: str, worker: str | None = None, previous: bool = False, follow: bool = False
    ) -> AsyncGenerator[str, None]:
        """The text of a log in pieces. `target` is the key of a preparation, or an endpoint: all its workers, or one.

        `previous` reads the run before the present one. `follow` goes on until there can be no more. Logs are bounded:
        the oldest lines go first. Raises UnknownEndpoint.
        """
        ...
