"""Which workers a set should start and which it should let go. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from model_engine_runtime.protocol import Worker, WorkerState

_KEEP_ORDER = (
    WorkerState.READY,
    WorkerState.UNREADY,
    WorkerState.STARTING,
    WorkerState.PENDING,
    WorkerState.BACKOFF,
)
"""Of too many workers those that come first here are kept."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many workers of the desired revision to start, and which workers to drain, by id."""

    start: int
    drain: tuple[str, ...]


def plan(workers: Sequence[Worker], *, revision: str, previous: str | None, replicas: int) -> Plan:
    """The next step of a set towards `replicas` workers of `revision`.

    Workers of the `previous` revision, the last that was READY, stay until as many new ones are READY; those of any
    other are let go at once. No old worker is ever added. `workers` come oldest first.
    """
    staying = sorted(
        (worker for worker in workers if worker.state is not WorkerState.DRAINING),
        key=lambda worker: _KEEP_ORDER.index(worker.state),
    )
    new = [worker for worker in staying if worker.revision == revision]
    old = [worker for worker in staying if worker.revision == previous and worker.revision != revision]
    other = [worker for worker in staying if worker.revision not in (revision, previous)]
    ready = sum(worker.state is WorkerState.READY for worker in new)
    leaving = new[replicas:] + old[max(0, replicas - ready) :] + other
    return Plan(start=max(0, replicas - len(new)), drain=tuple(worker.id for worker in leaving))
