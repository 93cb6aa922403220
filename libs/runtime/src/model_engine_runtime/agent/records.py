"""What the agent remembers of each endpoint's workers, and how calls change it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from model_engine_runtime.errors import ForeignInstallation, StaleGeneration, StaleLeader
from model_engine_runtime.protocol import Worker, WorkerSet, WorkerState

GONE_KEPT = 1000


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A worker, and the number of its latest run (0: not started yet)."""

    id: str
    revision: str
    environment_key: str
    run: int = 0


@dataclass(frozen=True, slots=True)
class SetRecord:
    """The workers of one endpoint.

    `previous` is the last template of which a worker was READY, while its workers serve beside those of `want`;
    `was_ready` says the same of `want`.
    """

    want: WorkerSet
    replicas: int
    created_at: float
    previous: WorkerSet | None = None
    was_ready: bool = False
    workers: tuple[WorkerRecord, ...] = ()
    deleting: bool = False

    def template(self, revision: str) -> WorkerSet | None:
        """The template of a revision that may still be started."""
        return next((want for want in (self.want, self.previous) if want and want.revision == revision), None)

    @property
    def environment_keys(self) -> set[str]:
        """Environments that the endpoint needs."""
        keys = {want.environment_key for want in (self.want, self.previous) if want is not None}
        return keys | {worker.environment_key for worker in self.workers}

    def with_worker(self, worker: WorkerRecord) -> "SetRecord":
        """With a new worker, or a known one in its new run."""
        others = tuple(known for known in self.workers if known.id != worker.id)
        if len(others) == len(self.workers):
            return replace(self, workers=(*others, worker))
        return replace(self, workers=tuple(worker if known.id == worker.id else known for known in self.workers))

    def without_worker(self, worker_id: str) -> "SetRecord":
        """With a worker gone."""
        return replace(self, workers=tuple(worker for worker in self.workers if worker.id != worker_id))


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """Whom the agent works for, the newest epoch that scaled, and the last generation of deleted endpoints."""

    installation: str | None = None
    epoch: int = -1
    gone: dict[str, int] = field(default_factory=dict)

    def claimed_by(self, installation: str, *, empty: bool) -> "AgentRecord":
        """After an apply of an installation. A runtime without workers goes to whoever comes first.

        Raises ForeignInstallation.
        """
        if installation == self.installation:
            return self
        if self.installation is not None and not empty:
            raise ForeignInstallation(
                f"this runtime holds workers of installation {self.installation}, not of {installation}: "
                "delete them first, or connect the services to the database that made them"
            )
        return AgentRecord(installation=installation)

    def led_by(self, epoch: int) -> "AgentRecord":
        """After a scale of a leader. Raises StaleLeader."""
        if epoch < self.epoch:
            raise StaleLeader(f"epoch {epoch} is older than {self.epoch}, which has scaled already")
        return self if epoch == self.epoch else replace(self, epoch=epoch)

    def with_gone(self, endpoint_id: str, generation: int) -> "AgentRecord":
        """After a deletion; only the latest thousand are remembered."""
        gone = {**self.gone, endpoint_id: generation}
        return replace(self, gone=dict(list(gone.items())[-GONE_KEPT:]))


def applied(record: SetRecord | None, want: WorkerSet, now: float) -> SetRecord:
    """The record after an apply. Raises StaleGeneration."""
    if record is None:
        return SetRecord(want=want, replicas=want.initial_replicas, created_at=now)
    if record.deleting:
        raise StaleGeneration(f"{want.endpoint_id} is being deleted")
    if want.generation < record.want.generation:
        raise StaleGeneration(f"generation {want.generation} is older than {record.want.generation}")
    if want.revision == record.want.revision:
        return record if want == record.want else replace(record, want=want)
    previous = record.want if record.was_ready else record.previous
    if previous is not None and previous.revision == want.revision:
        return replace(record, want=want, previous=None, was_ready=True)
    return replace(record, want=want, previous=previous, was_ready=False)


def progressed(record: SetRecord, workers: Sequence[Worker]) -> SetRecord:
    """The record in view of its workers: whether the desired revision has been READY, and without a previous one that
    is replaced and has no workers any more.
    """
    ready = any(w.state is WorkerState.READY and w.revision == record.want.revision for w in workers)
    was_ready = record.was_ready or ready
    previous = record.previous
    if previous is not None and was_ready and not any(w.revision == previous.revision for w in workers):
        previous = None
    if was_ready is record.was_ready and previous is record.previous:
        return record
    return replace(record, was_ready=was_ready, previous=previous)


def deleted(record: SetRecord, generation: int) -> SetRecord:
    """The record once its deletion is wished. Raises StaleGeneration."""
    if generation < record.want.generation:
        raise StaleGeneration(f"generation {generation} is older than {record.want.generation}")
    return replace(record, deleting=True, replicas=0, want=replace(record.want, generation=generation))
