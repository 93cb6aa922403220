"""What is worth telling of a change in the runtime."""

from dataclasses import replace

import pytest

from model_engine_cache.domain import Observations, worker_facts
from model_engine_contracts.events import EventData, WorkerLost, WorkerReady
from model_engine_contracts.failures import Reason
from model_engine_runtime.protocol import Failure, SetState, Worker, WorkerState

READY = Worker("w1", "r1", WorkerState.READY, "127.0.0.1:4000")
CRASHED = replace(
    READY, state=WorkerState.BACKOFF, address=None, failure=Failure(Reason.EXITED, "exit code 3", 3, "line 1")
)
SET = SetState("end_a", generation=1, revision="r1", replicas=1, workers=(READY,))


def with_workers(*workers: Worker) -> SetState:
    return replace(SET, workers=workers)


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(with_workers(CRASHED), id="a worker's state"),
        pytest.param(with_workers(replace(READY, address="127.0.0.1:4001")), id="its address"),
        pytest.param(with_workers(replace(READY, restarts=1)), id="a restart between two looks"),
        pytest.param(with_workers(), id="a worker is gone"),
        pytest.param(replace(SET, replicas=2), id="the wanted number"),
        pytest.param(replace(SET, generation=2), id="the generation"),
        pytest.param(replace(SET, failure=Failure(Reason.UNSCHEDULABLE, "no GPU")), id="the set's failure"),
    ],
)
def test_a_meaningful_change_is_told_once(state: SetState) -> None:
    observations = Observations(epoch=3)
    first = observations.record(SET)
    second = observations.record(state)
    assert first is not None
    assert second is not None
    assert (first.epoch, first.counter) < (second.epoch, second.counter)
    assert observations.record(state) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            with_workers(READY, replace(READY, id="w2")), with_workers(replace(READY, id="w2"), READY), id="order"
        ),
        pytest.param(
            with_workers(CRASHED),
            with_workers(replace(CRASHED, failure=Failure(Reason.EXITED, "exit code 3", 3, "line 1\nline 2"))),
            id="a log that grew",
        ),
        pytest.param(SET, replace(SET, created_at=5.0), id="what nobody reads"),
    ],
)
def test_noise_is_not_told(before: SetState, after: SetState) -> None:
    observations = Observations(epoch=3)
    observations.record(before)
    assert observations.record(after) is None


def test_a_picture_tells_what_vanished_and_what_changed() -> None:
    observations = Observations(epoch=3)
    observations.replace_all([SET, replace(SET, endpoint_id="end_b"), replace(SET, endpoint_id="end_c")])
    told = observations.replace_all([SET, replace(SET, endpoint_id="end_b", replicas=2)])
    assert [(observed.endpoint_id, observed.gone) for observed in told] == [("end_c", True), ("end_b", False)]
    assert observations.remove("end_c") is None


def test_a_new_leader_tells_everything_again_under_its_epoch() -> None:
    earlier = Observations(epoch=3)
    earlier.replace_all([SET, replace(SET, endpoint_id="end_b")])
    later = Observations(epoch=4, known=dict(earlier.known))
    told = later.replace_all([SET])
    assert [(observed.endpoint_id, observed.epoch, observed.gone) for observed in told] == [
        ("end_b", 4, True),
        ("end_a", 4, False),
    ]


@pytest.mark.parametrize(
    ("before", "after", "facts"),
    [
        pytest.param(None, SET, [WorkerReady], id="ready from the start"),
        pytest.param(None, with_workers(CRASHED), [], id="never ready"),
        pytest.param(SET, SET, [], id="still ready"),
        pytest.param(SET, with_workers(CRASHED), [WorkerLost], id="ended"),
        pytest.param(SET, with_workers(), [WorkerLost], id="gone"),
        pytest.param(SET, with_workers(replace(READY, restarts=1)), [WorkerLost, WorkerReady], id="restarted unseen"),
        pytest.param(with_workers(CRASHED), SET, [WorkerReady], id="back"),
        pytest.param(SET, with_workers(replace(READY, id="w2")), [WorkerLost, WorkerReady], id="replaced"),
    ],
)
def test_workers_that_came_and_went(before: SetState | None, after: SetState, facts: list[type[EventData]]) -> None:
    observations = Observations(epoch=3)
    earlier = observations.record(before) if before else None
    later = observations.record(after) or observations.known["end_a"]
    assert [type(fact) for fact in worker_facts(earlier, later)] == facts


def test_a_lost_worker_says_why() -> None:
    observations = Observations(epoch=3)
    before, after = observations.record(SET), observations.record(with_workers(CRASHED))
    assert after is not None
    [fact] = worker_facts(before, after)
    assert isinstance(fact, WorkerLost)
    assert fact.failure is not None
    assert (fact.failure.code, fact.failure.exit_code, fact.failure.log_tail) == (Reason.EXITED, 3, "line 1")
    assert fact.failure.remedy
