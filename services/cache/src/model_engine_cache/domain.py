"""What is known of every endpoint's workers, and what of a change is worth telling. Pure: no I/O, no clock."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from model_engine_contracts.events import EndpointObserved, EventData, ObservedWorker, WorkerLost, WorkerReady
from model_engine_contracts.failures import FailureInfo, failure_info
from model_engine_runtime.protocol import Failure, SetState, Worker, WorkerState


@dataclass(slots=True)
class Observations:
    """The newest observation of each endpoint. `epoch` is the lease epoch of the leader that observes.

    `known` may start with what an earlier leader observed: those are said again under the new epoch, changed or not,
    because the earlier leader may have died between seeing and telling.
    """

    epoch: int
    known: dict[str, EndpointObserved] = field(default_factory=dict)
    counter: int = 0

    def replace_all(self, sets: Iterable[SetState]) -> list[EndpointObserved]:
        """Take a whole picture of the runtime; an endpoint that is not in it is gone."""
        pictured = {state.endpoint_id: state for state in sets}
        vanished = [self.remove(endpoint_id) for endpoint_id in list(self.known) if endpoint_id not in pictured]
        changed = [self.record(state) for state in pictured.values()]
        return [observed for observed in (*vanished, *changed) if observed is not None]

    def record(self, state: SetState) -> EndpointObserved | None:
        """Take one endpoint's whole set; None when nothing of it is worth telling."""
        known = self.known.get(state.endpoint_id)
        observed = observe(state, self.epoch, self.counter + 1)
        if known is not None and known.epoch == self.epoch and is_same(known, observed):
            return None
        self.counter += 1
        self.known[state.endpoint_id] = observed
        return observed

    def remove(self, endpoint_id: str) -> EndpointObserved | None:
        """The runtime has nothing of this endpoint any more; None when nothing of it was known."""
        known = self.known.pop(endpoint_id, None)
        return None if known is None else self.gone(endpoint_id, known.generation)

    def gone(self, endpoint_id: str, generation: int) -> EndpointObserved:
        """The observation that nothing is left of an endpoint."""
        self.counter += 1
        return EndpointObserved(
            endpoint_id=endpoint_id,
            epoch=self.epoch,
            counter=self.counter,
            generation=generation,
            replicas=0,
            gone=True,
        )


def observe(state: SetState, epoch: int, counter: int) -> EndpointObserved:
    """A set of the runtime as the fact that services exchange; workers sorted by id."""
    return EndpointObserved(
        endpoint_id=state.endpoint_id,
        epoch=epoch,
        counter=counter,
        generation=state.generation,
        replicas=state.replicas,
        workers=tuple(_observed_worker(worker) for worker in sorted(state.workers, key=lambda worker: worker.id)),
        failure=_failure_info(state.failure),
    )


def is_same(one: EndpointObserved, other: EndpointObserved) -> bool:
    """Whether two observations of an endpoint say the same; a log that grew is not a change."""
    return _meaning(one) == _meaning(other)


def worker_facts(before: EndpointObserved | None, after: EndpointObserved) -> list[EventData]:
    """Which workers became ready and which ready ones were lost between two observations of one endpoint.

    A ready worker whose count of restarts rose was lost and is ready again.
    """
    old = {} if before is None else {worker.id: worker for worker in before.workers}
    new = {worker.id: worker for worker in after.workers}
    facts: list[EventData] = []
    for worker_id, worker in old.items():
        current = new.get(worker_id)
        if _is_ready(worker) and not (current and _is_ready(current) and current.restarts == worker.restarts):
            failure = after.failure if current is None else current.failure
            facts.append(
                WorkerLost(
                    endpoint_id=after.endpoint_id, worker_id=worker_id, revision=worker.revision, failure=failure
                )
            )
    for worker_id, worker in new.items():
        previous = old.get(worker_id)
        if _is_ready(worker) and not (previous and _is_ready(previous) and previous.restarts == worker.restarts):
            facts.append(WorkerReady(endpoint_id=after.endpoint_id, worker_id=worker_id, revision=worker.revision))
    return facts


def _observed_worker(worker: Worker) -> ObservedWorker:
    return ObservedWorker(
        id=worker.id,
        revision=worker.revision,
        state=worker.state.value,
        address=worker.address,
        restarts=worker.restarts,
        failure=_failure_info(worker.failure),
    )


def _failure_info(failure: Failure | None) -> FailureInfo | None:
    if failure is None:
        return None
    return failure_info(failure.reason, failure.message, failure.exit_code, failure.log_tail)


def _meaning(observed: EndpointObserved) -> tuple[object, ...]:
    workers = tuple(
        (worker.id, worker.revision, worker.state, worker.address, worker.restarts, _cause(worker.failure))
        for worker in observed.workers
    )
    return observed.generation, observed.replicas, observed.gone, _cause(observed.failure), workers


def _cause(failure: FailureInfo | None) -> tuple[object, ...] | None:
    return None if failure is None else (failure.code, failure.message, failure.exit_code)


def _is_ready(worker: ObservedWorker) -> bool:
    return worker.state == WorkerState.READY.value
