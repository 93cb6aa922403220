"""The status machine, fact by fact: order, repetition and old generations included."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from model_engine_contracts.documents import EndpointDocument
from model_engine_contracts.endpoint_states import Phase
from model_engine_contracts.envelope import EventData
from model_engine_contracts.events import (
    BuildFailed,
    BuildStarted,
    BuildSucceeded,
    EndpointObserved,
    EndpointReleased,
    ObservedWorker,
    RolloutFailed,
    RolloutStarted,
    RolloutSucceeded,
    ScalingDecided,
    WorkerLost,
    WorkerReady,
)
from model_engine_contracts.failures import FailureInfo, Reason, failure_info
from model_engine_gateway.domain.endpoint_documents import Edit, deletion, next_generation
from model_engine_gateway.domain.status import apply_fact

NOW = datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
IMPORT_ERROR = failure_info(Reason.IMPORT_ERROR, "No module named 'numpi'")
CRASH_LOOP = failure_info(Reason.CRASH_LOOP)
EXITED = failure_info(Reason.EXITED, exit_code=3)


class Endpoint:
    """An endpoint that facts and edits are applied to, as the gateway would."""

    def __init__(self, document: EndpointDocument) -> None:
        self.document = document
        self.said: list[EventData] = []
        self._counter = 0

    def hear(self, fact: EventData) -> list[str]:
        """Apply a fact; the names of the events it made."""
        change = apply_fact(self.document, fact, LATER)
        if change is None:
            return []
        self.document = self.document.model_copy(update={"status": change.status, "tombstone": change.tombstone})
        self.said += change.events
        return [event.VERB for event in change.events]

    def edit(self, edit: Edit) -> None:
        self.document = EndpointDocument.model_validate({**self.document.model_dump(), **edit.fields})

    def update(self) -> None:
        self.edit(next_generation(self.document, self.document.spec, user="ada", now=LATER))

    def rolled(self, fact: type[Any], generation: int | None = None, **fields: Any) -> list[str]:
        identity = {"endpoint_id": "end_1", "generation": generation or self.document.generation}
        named = {"environment_key": "k"} if fact in (BuildStarted, BuildSucceeded, BuildFailed) else {"revision": "r"}
        return self.hear(fact(**identity, **named, **fields))

    def observe(
        self, replicas: int, *workers: str | FailureInfo, counter: int | None = None, **fields: Any
    ) -> list[str]:
        """Observe workers by their states; a failure stands for one in BACKOFF because of it."""
        self._counter = self._counter + 1 if counter is None else counter
        observed = [
            ObservedWorker(id=f"w{n}", revision="r", state="BACKOFF", failure=worker)
            if isinstance(worker, FailureInfo)
            else ObservedWorker(id=f"w{n}", revision="r", state=worker)
            for n, worker in enumerate(workers)
        ]
        return self.hear(
            EndpointObserved(
                endpoint_id="end_1",
                epoch=1,
                counter=self._counter,
                generation=1,
                replicas=replicas,
                workers=tuple(observed),
                **fields,
            )
        )

    @property
    def phase(self) -> Phase:
        return self.document.status.phase

    @property
    def reason(self) -> Reason | None:
        failure = self.document.status.failure
        return failure.code if failure else None


@pytest.fixture
def endpoint(document: EndpointDocument) -> Endpoint:
    return Endpoint(document)


@pytest.fixture
def ready(endpoint: Endpoint) -> Endpoint:
    """An endpoint with one worker that answers."""
    endpoint.rolled(RolloutStarted)
    endpoint.observe(1, "READY")
    endpoint.rolled(RolloutSucceeded)
    assert endpoint.phase is Phase.READY
    return endpoint


def test_the_way_to_ready(endpoint: Endpoint) -> None:
    assert endpoint.rolled(BuildStarted) == ["status-changed"]
    assert endpoint.phase is Phase.PREPARING
    assert endpoint.rolled(BuildSucceeded) == []
    assert endpoint.rolled(RolloutStarted) == ["status-changed"]
    assert endpoint.phase is Phase.ROLLING_OUT
    assert endpoint.observe(1, "STARTING") == ["workers-changed"]
    assert endpoint.observe(1, "READY") == ["workers-changed"]
    assert endpoint.phase is Phase.ROLLING_OUT
    assert endpoint.rolled(RolloutSucceeded) == ["status-changed"]

    status = endpoint.document.status
    assert (status.phase, status.serving_generation, status.observed_generation) == (Phase.READY, 1, 1)
    assert (status.desired_workers, status.available_workers, status.unavailable_workers) == (1, 1, 0)
    assert status.since == LATER


def test_late_and_repeated_facts_never_turn_a_generation_back(endpoint: Endpoint) -> None:
    endpoint.rolled(RolloutStarted)
    assert endpoint.rolled(BuildStarted) == []
    endpoint.rolled(RolloutSucceeded)
    for late in (BuildStarted, RolloutStarted, RolloutSucceeded):
        assert endpoint.rolled(late) == []
    assert endpoint.rolled(RolloutFailed, failure=IMPORT_ERROR) == []
    assert endpoint.phase is Phase.READY


def test_a_failure_is_told_until_the_next_ready(endpoint: Endpoint) -> None:
    endpoint.rolled(BuildStarted)
    assert endpoint.rolled(BuildFailed, failure=IMPORT_ERROR) == []
    assert endpoint.phase is Phase.PREPARING
    assert endpoint.rolled(RolloutFailed, failure=IMPORT_ERROR) == ["status-changed"]
    assert (endpoint.phase, endpoint.reason) == (Phase.FAILED, Reason.IMPORT_ERROR)
    endpoint.update()
    assert (endpoint.phase, endpoint.reason) == (Phase.PENDING, Reason.IMPORT_ERROR)
    endpoint.rolled(RolloutSucceeded)
    assert (endpoint.phase, endpoint.reason) == (Phase.READY, None)


def test_what_keeps_a_rollout_is_told_while_it_goes_on(endpoint: Endpoint) -> None:
    endpoint.rolled(RolloutStarted)
    assert endpoint.observe(1, IMPORT_ERROR, failure=IMPORT_ERROR) == ["workers-changed", "status-changed"]
    assert (endpoint.phase, endpoint.reason) == (Phase.ROLLING_OUT, Reason.IMPORT_ERROR)
    assert endpoint.observe(1, "READY") == ["workers-changed", "status-changed"]
    assert (endpoint.phase, endpoint.reason) == (Phase.ROLLING_OUT, None)
    endpoint.update()
    endpoint.rolled(RolloutStarted)
    endpoint.observe(1, IMPORT_ERROR, failure=IMPORT_ERROR)
    assert endpoint.reason is None, "that is the older generation's failure"


def test_older_generations_are_dropped_but_may_have_come_to_serve(endpoint: Endpoint) -> None:
    endpoint.update()
    assert endpoint.rolled(RolloutFailed, generation=1, failure=IMPORT_ERROR) == []
    assert endpoint.rolled(RolloutStarted, generation=1) == []
    assert endpoint.rolled(RolloutSucceeded, generation=1) == []
    assert (endpoint.phase, endpoint.document.status.serving_generation) == (Phase.PENDING, 1)
    assert endpoint.rolled(RolloutFailed, generation=2, failure=IMPORT_ERROR) == ["status-changed"]
    endpoint.observe(1, "READY")
    assert endpoint.phase is Phase.FAILED
    assert endpoint.document.status.available_workers == 1


def test_a_lost_worker_is_seen_at_once_and_so_is_its_return(ready: Endpoint) -> None:
    assert ready.observe(1, EXITED) == ["workers-changed", "status-changed"]
    assert (ready.phase, ready.reason) == (Phase.RECOVERING, Reason.EXITED)
    assert ready.observe(1, "STARTING") == []
    assert (ready.phase, ready.reason) == (Phase.RECOVERING, Reason.EXITED)
    assert ready.observe(1, "READY") == ["workers-changed", "status-changed"]
    assert (ready.phase, ready.reason) == (Phase.READY, None)


def test_a_lost_worker_beside_another_leaves_it_ready(ready: Endpoint) -> None:
    ready.observe(2, "READY", "READY")
    assert ready.observe(2, "READY", EXITED) == ["workers-changed"]
    assert ready.phase is Phase.READY
    assert ready.document.status.unavailable_workers == 1


def test_a_crash_loop_fails_and_working_workers_mend_it(ready: Endpoint) -> None:
    ready.observe(1, EXITED)
    assert ready.observe(1, CRASH_LOOP) == ["status-changed"]
    assert (ready.phase, ready.reason) == (Phase.FAILED, Reason.CRASH_LOOP)
    ready.observe(1, "STARTING")
    assert ready.phase is Phase.FAILED
    ready.observe(1, "READY")
    assert (ready.phase, ready.reason) == (Phase.READY, None)


def test_to_zero_and_back_stays_ready_until_a_worker_fails(ready: Endpoint) -> None:
    assert ready.observe(0) == ["workers-changed"]
    assert ready.phase is Phase.READY
    assert ready.observe(1, "PENDING") == ["workers-changed"]
    assert ready.observe(1, "STARTING") == []
    assert ready.phase is Phase.READY
    assert ready.observe(1, EXITED) == ["status-changed"]
    assert (ready.phase, ready.reason) == (Phase.RECOVERING, Reason.EXITED)
    ready.observe(0)
    assert (ready.phase, ready.reason) == (Phase.READY, None)


def test_workers_that_the_runtime_forgot_are_missed(ready: Endpoint) -> None:
    ready.observe(0, gone=True)
    assert ready.phase is Phase.RECOVERING


def test_older_observations_are_dropped(ready: Endpoint) -> None:
    before = ready.document.status
    assert ready.observe(5, "READY", counter=before.observed_counter) == []
    assert ready.document.status == before


def test_history_of_workers_and_scaling(ready: Endpoint) -> None:
    worker = {"endpoint_id": "end_1", "worker_id": "w1", "revision": "r"}
    scaling = ScalingDecided(
        endpoint_id="end_1", epoch=1, from_workers=1, to_workers=0, reason="idle", inputs={"waiting": 0}
    )

    assert ready.hear(WorkerReady(**worker)) == ["worker-ready"]
    assert ready.hear(WorkerLost(**worker, failure=EXITED)) == ["worker-lost"]
    assert ready.hear(scaling) == ["scaled"]
    assert ready.phase is Phase.READY


def test_deletion_ends_with_the_release_of_its_own_generation(ready: Endpoint) -> None:
    ready.edit(deletion(ready.document, user="ada", now=LATER))
    assert (ready.phase, ready.document.generation) == (Phase.DELETING, 2)
    assert ready.rolled(RolloutSucceeded) == []
    assert ready.observe(0, gone=True) == ["workers-changed"]
    assert ready.phase is Phase.DELETING
    assert ready.hear(EndpointReleased(endpoint_id="end_1", generation=1)) == []
    assert ready.hear(EndpointReleased(endpoint_id="end_1", generation=2)) == ["deleted"]
    assert ready.document.tombstone


def test_what_is_not_to_be_deleted_is_never_released(ready: Endpoint) -> None:
    assert ready.hear(EndpointReleased(endpoint_id="end_1", generation=1)) == []


def test_the_revision_that_serves_stays_in_the_bounded_history(ready: Endpoint) -> None:
    for _ in range(15):
        ready.update()
    generations = [revision.generation for revision in ready.document.revisions]
    assert generations == [1, *range(7, 17)]
