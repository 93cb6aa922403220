"""The status machine: what a fact of builder, cache or autoscaler makes of an endpoint.

Facts may come twice and out of order. Within a generation phases only move forward, older generations are dropped, and
observations are fenced by (epoch, counter).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from model_engine_contracts.documents import EndpointDocument, EndpointStatus
from model_engine_contracts.endpoint_states import WIRE_STATUS, Phase
from model_engine_contracts.envelope import EventData
from model_engine_contracts.events import (
    BuildStarted,
    EndpointDeleted,
    EndpointObserved,
    EndpointReleased,
    EndpointScaled,
    EndpointStatusChanged,
    EndpointWorkerLost,
    EndpointWorkerReady,
    EndpointWorkersChanged,
    RolloutFailed,
    RolloutStarted,
    RolloutSucceeded,
    ScalingDecided,
    WorkerLost,
    WorkerReady,
)
from model_engine_contracts.failures import FailureInfo, Reason

READY_WORKER = "READY"


@dataclass(frozen=True, slots=True)
class Change:
    """What a fact changes: the new status, the history events, and whether the endpoint is gone for good."""

    status: EndpointStatus
    events: tuple[EventData, ...]
    tombstone: bool = False


def apply_fact(document: EndpointDocument, fact: EventData, now: datetime) -> Change | None:
    """What `fact` makes of the endpoint; None where it says nothing new."""
    match fact:
        case EndpointReleased():
            return _released(document, fact)
        case EndpointObserved():
            return _observed(document, fact, now)
        case WorkerReady():
            ready = EndpointWorkerReady(**_names(document), worker_id=fact.worker_id, revision=fact.revision)
            return Change(document.status, (ready,))
        case WorkerLost():
            lost = EndpointWorkerLost(
                **_names(document), worker_id=fact.worker_id, revision=fact.revision, failure=fact.failure
            )
            return Change(document.status, (lost,))
        case ScalingDecided():
            scaled = EndpointScaled(
                **_names(document),
                from_workers=fact.from_workers,
                to_workers=fact.to_workers,
                reason=fact.reason,
                inputs=fact.inputs,
            )
            return Change(document.status, (scaled,))
        case BuildStarted() | RolloutStarted() | RolloutSucceeded() | RolloutFailed():
            return _rolled(document, fact, now)
    return None


def entered(
    document: EndpointDocument, status: EndpointStatus, phase: Phase, failure: FailureInfo | None, now: datetime
) -> Change:
    """The change of phase, with its event unless nothing a user can see differs."""
    same = phase is status.phase and _code(failure) == _code(status.failure)
    changed = status.model_copy(
        update={"phase": phase, "failure": failure, "since": status.since if phase is status.phase else now}
    )
    event = EndpointStatusChanged(
        **_names(document),
        phase=phase,
        status=WIRE_STATUS[phase],
        failure=failure if phase is not Phase.READY else None,
    )
    return Change(changed, () if same else (event,))


def _released(document: EndpointDocument, fact: EndpointReleased) -> Change | None:
    if not document.deletion_requested or fact.generation != document.generation:
        return None
    gone = document.status.model_copy(update={"desired_workers": 0, "available_workers": 0, "unavailable_workers": 0})
    return Change(gone, (EndpointDeleted(**_names(document)),), tombstone=True)


def _rolled(
    document: EndpointDocument, fact: BuildStarted | RolloutStarted | RolloutSucceeded | RolloutFailed, now: datetime
) -> Change | None:
    status = document.status
    if document.deletion_requested or fact.generation > document.generation:
        return None
    serving = status.serving_generation or 0
    if fact.generation < document.generation:
        # An older generation may still have come to serve; what becomes of it otherwise is of no interest any more.
        if isinstance(fact, RolloutSucceeded) and fact.generation > serving:
            return Change(status.model_copy(update={"serving_generation": fact.generation}), ())
        return None
    if serving == fact.generation:
        return None
    seen = status.model_copy(update={"observed_generation": fact.generation})
    match fact:
        case BuildStarted() if status.phase is Phase.PENDING:
            return entered(document, seen, Phase.PREPARING, status.failure, now)
        case RolloutStarted() if status.phase in (Phase.PENDING, Phase.PREPARING):
            return entered(document, seen, Phase.ROLLING_OUT, status.failure, now)
        case RolloutSucceeded():
            serves = seen.model_copy(update={"serving_generation": fact.generation})
            return entered(document, serves, Phase.READY, None, now)
        case RolloutFailed():
            return entered(document, seen, Phase.FAILED, fact.failure, now)
    return None


def _observed(document: EndpointDocument, fact: EndpointObserved, now: datetime) -> Change | None:
    status = document.status
    if (fact.epoch, fact.counter) <= (status.observed_epoch, status.observed_counter):
        return None
    available = sum(worker.state == READY_WORKER for worker in fact.workers)
    counts = {
        "desired_workers": fact.replicas,
        "available_workers": available,
        "unavailable_workers": max(0, fact.replicas - available),
    }
    counted = status.model_copy(update={**counts, "observed_epoch": fact.epoch, "observed_counter": fact.counter})
    events: tuple[EventData, ...] = ()
    if any(getattr(status, name) != value for name, value in counts.items()):
        events = (EndpointWorkersChanged(**_names(document), **counts),)
    phase, failure = _phase_after(document, fact, available)
    change = entered(document, counted, phase, failure, now)
    return Change(change.status, (*events, *change.events))


def _phase_after(
    document: EndpointDocument, fact: EndpointObserved, available: int
) -> tuple[Phase, FailureInfo | None]:
    """Phase and failure that an observation leaves. Only a generation that was ready once moves with its workers; of
    one that is being rolled out they show what keeps it.

    An endpoint on its way up from zero has lost nothing: it stays READY until a worker of it fails.
    """
    status = document.status
    served = status.serving_generation == document.generation
    if status.phase is Phase.ROLLING_OUT and not served and fact.generation == document.generation:
        return status.phase, fact.failure
    if not served or status.phase not in (Phase.READY, Phase.RECOVERING, Phase.FAILED):
        return status.phase, status.failure
    if available > 0:
        return Phase.READY, None
    failure = _failure_of(fact)
    if failure is not None and failure.code is Reason.CRASH_LOOP:
        return Phase.FAILED, failure
    if status.phase is Phase.FAILED:
        return Phase.FAILED, status.failure
    if fact.gone:
        return Phase.RECOVERING, failure
    if fact.replicas == 0:
        return Phase.READY, None
    if status.phase is Phase.READY and status.available_workers == 0 and failure is None:
        return Phase.READY, None
    return Phase.RECOVERING, failure or status.failure


def _failure_of(fact: EndpointObserved) -> FailureInfo | None:
    """Why the set does not answer: a crash loop before the set's own failure before that of any worker."""
    failures = [worker.failure for worker in fact.workers if worker.failure is not None]
    loops = [failure for failure in failures if failure.code is Reason.CRASH_LOOP]
    return next(iter([*loops, *([fact.failure] if fact.failure else []), *failures]), None)


def _names(document: EndpointDocument) -> dict[str, Any]:
    return {"endpoint_id": document.id, "name": document.name, "generation": document.generation}


def _code(failure: FailureInfo | None) -> Reason | None:
    return None if failure is None else failure.code
