"""What the steps of the state machine do, say and remember."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from model_engine_builder.domain.rollout import RolloutPhase
from model_engine_builder.domain.steps import Apply, Delete, MakeQueue, Prepare, PutBack, RemoveQueue, Wait
from model_engine_builder.domain.view import EndpointView
from model_engine_contracts.documents import EndpointSpec
from model_engine_contracts.endpoint_states import EndpointType, Phase
from model_engine_contracts.failures import Reason
from model_engine_runtime.protocol import Failure, PrepState, SetState, Worker, WorkerState

from .situations import (
    KEY,
    LIMITS,
    NEW,
    NOW,
    OLD,
    OLD_SPEC,
    SERVING_NEW,
    SERVING_OLD,
    SPEC,
    document_of,
    only,
    prepared,
    rollout,
    said,
    scaled,
    spec_of,
    step_of,
    workers,
)

P, R, S, F, D = (
    RolloutPhase.PREPARING,
    RolloutPhase.ROLLING_OUT,
    RolloutPhase.SUCCEEDED,
    RolloutPhase.FAILED,
    RolloutPhase.DELETING,
)
READY, BACKOFF, STARTING = WorkerState.READY, WorkerState.BACKOFF, WorkerState.STARTING
GOING = {"deletion_requested": True}
SHOWN = {"status": {"serving_generation": 2}}
SHOWN_FAILED = {"status": {"phase": Phase.FAILED}}
ASYNC = spec_of(endpoint_type=EndpointType.ASYNC)
CRASH = Failure(Reason.EXITED, "exit code 3", 3, "Traceback")
OOM, NO_GPU = replace(CRASH, reason=Reason.OUT_OF_MEMORY), Failure(Reason.UNSCHEDULABLE, "no GPU")


def test_a_generation_from_its_beginning_to_its_workers() -> None:
    document = document_of(1)
    begun = only(step_of(document, None)).record
    assert begun is not None
    assert begun.deadline == NOW + timedelta(seconds=LIMITS.queue + LIMITS.build)
    prepare = only(step_of(document, begun))
    assert isinstance(prepare.action, Prepare)
    assert prepare.action.environment.requirements == SPEC.bundle.requirements
    assert prepare.action.bundle.artifact_id == "art_1"
    building = begun.model_copy(update={"environment_key": KEY, "build_started": True})
    apply = only(step_of(document, building, EndpointView(preparation=prepared(PrepState.READY))))
    assert isinstance(apply.action, Apply)
    assert (apply.action.workers.generation, apply.action.workers.environment_key) == (1, KEY)
    assert said(apply) == ["build succeeded", "rollout started"]
    assert apply.record is not None
    assert apply.record.deadline == NOW + timedelta(seconds=LIMITS.start + LIMITS.margin)
    done = only(step_of(document, apply.record, EndpointView(workers=workers(READY, generation=1))))
    assert said(done) == ["rollout succeeded"]
    assert done.record is not None
    assert done.record.serving == SERVING_NEW.model_copy(update={"generation": 1})
    assert done.record.deadline is None


def test_a_newer_generation_keeps_what_serves() -> None:
    before = rollout(R, serving=SERVING_OLD, attempt=3)
    begun = only(step_of(document_of(3), before)).record
    assert begun is not None
    assert (begun.generation, begun.attempt, begun.environment_key) == (3, 0, None)
    assert (begun.serving, begun.applied_revision) == (SERVING_OLD, NEW)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(scaled(SPEC, min_workers=0, max_workers=9, per_worker=7), id="scaling"),
        pytest.param(SPEC.model_copy(update={"labels": {"team": "x"}, "metadata_json": '{"a": 1}'}), id="labels"),
        pytest.param(SPEC.model_copy(update={"default_callback_url": "http://x"}), id="callbacks"),
    ],
)
@pytest.mark.parametrize("seen", [workers(READY), workers(BACKOFF), workers(READY, workers=(), replicas=0)])
def test_what_changes_nothing_in_a_worker_succeeds_at_once(spec: EndpointSpec, seen: SetState) -> None:
    known = rollout(P, generation=3, environment_key=None, serving=SERVING_NEW, applied_revision=NEW)
    step = only(step_of(document_of(3, spec), known, EndpointView(workers=seen)))
    assert (step.name, said(step)) == ("adopt", ["rollout succeeded"])
    assert isinstance(step.action, Apply)
    assert (step.action.workers.revision, step.action.workers.generation) == (NEW, 3)
    assert step.record is not None
    assert step.record.serving is not None
    assert (step.record.phase, step.record.serving.generation, step.record.serving.spec) == (S, 3, spec)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(SPEC.model_copy(update={"restart_nonce": 1}), id="restart"),
        pytest.param(OLD_SPEC, id="requirements"),
        pytest.param(scaled(SPEC, concurrent_requests_per_worker=8), id="concurrency of a worker"),
        pytest.param(scaled(SPEC, forwarder_max_concurrency=8), id="concurrency of a forwarder"),
        pytest.param(SPEC.model_copy(update={"resources": SPEC.resources.model_copy(update={"cpus": 2})}), id="cores"),
        pytest.param(spec_of(bundle={"app_config_json": "{}"}), id="app config"),
        pytest.param(spec_of(bundle={"artifact_sha256": "b" * 64}), id="artifact"),
    ],
)
def test_what_changes_a_worker_goes_the_whole_way(spec: EndpointSpec) -> None:
    known = rollout(P, generation=3, environment_key=None, serving=SERVING_NEW, applied_revision=NEW)
    assert only(step_of(document_of(3, spec), known, EndpointView(workers=workers(READY)))).name == "prepare"


@pytest.mark.parametrize(
    ("applied", "seen"),
    [
        pytest.param(OLD, workers(READY), id="another template was applied since"),
        pytest.param(NEW, workers(READY, OLD), id="the runtime has another template"),
        pytest.param(NEW, None, id="the runtime has nothing"),
    ],
)
def test_an_unchanged_template_that_does_not_run_goes_the_whole_way(applied: str, seen: SetState | None) -> None:
    known = rollout(P, generation=3, environment_key=None, serving=SERVING_NEW, applied_revision=applied)
    assert only(step_of(document_of(3), known, EndpointView(workers=seen))).name == "prepare"


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (
            {"preparation": prepared(PrepState.FAILED, Reason.REQUIREMENTS_UNRESOLVABLE)},
            Reason.REQUIREMENTS_UNRESOLVABLE,
        ),
        ({"preparation": prepared(PrepState.BUILDING)}, Reason.BUILD_TIMEOUT),
    ],
)
def test_a_failed_build_says_so_with_its_cause(seen: dict[str, Any], code: Reason) -> None:
    step = only(step_of(document_of(), rollout(P, deadline=NOW, serving=SERVING_OLD), EndpointView(**seen)))
    assert said(step) == ["build failed", "rollout failed"]
    assert step.record is not None
    assert step.record.failure is not None
    assert (step.record.failure.code, bool(step.record.failure.remedy)) == (code, True)
    assert step.facts[1].model_dump()["serving_revision"] == OLD


@pytest.mark.parametrize(
    ("worker", "seen", "code"),
    [
        pytest.param({"failure": CRASH}, {}, None, id="one exit may happen"),
        pytest.param({"failure": CRASH, "restarts": 1}, {}, Reason.EXITED, id="a second one is too many"),
        pytest.param({"failure": OOM, "restarts": 1}, {}, Reason.OUT_OF_MEMORY, id="memory"),
        pytest.param({"failure": replace(CRASH, reason=Reason.IMPORT_ERROR)}, {}, Reason.IMPORT_ERROR, id="import"),
        pytest.param({"failure": replace(CRASH, reason=Reason.CRASH_LOOP)}, {}, Reason.CRASH_LOOP, id="loop"),
        pytest.param({"failure": replace(CRASH, reason=Reason.NEVER_READY)}, {}, Reason.NEVER_READY, id="never ready"),
        pytest.param({"failure": replace(CRASH, reason=Reason.EVICTED), "restarts": 5}, {}, None, id="what may pass"),
        pytest.param({}, {"failure": NO_GPU}, None, id="no place yet"),
        pytest.param({}, {"failure": NO_GPU, "workers": ()}, Reason.UNSCHEDULABLE, id="refused as a whole"),
        pytest.param({}, {"failure": Failure(Reason.ADMISSION_DENIED, "policy")}, Reason.ADMISSION_DENIED, id="denied"),
    ],
)  # fmt: skip
def test_when_a_rollout_is_given_up(worker: dict[str, Any], seen: dict[str, Any], code: Reason | None) -> None:
    step = step_of(document_of(), rollout(R), EndpointView(workers=workers(BACKOFF, worker=worker, **seen)))
    if code is None:
        assert isinstance(step, Wait)
        return
    record = only(step).record
    assert said(only(step)) == ["rollout failed"]
    assert record is not None
    assert record.failure is not None
    assert record.failure.code is code
    if "failure" in worker:
        assert (record.failure.exit_code, record.failure.log_tail) == (3, "Traceback")


def test_old_workers_that_crash_do_not_fail_a_rollout() -> None:
    old = Worker("w0", OLD, BACKOFF, restarts=9, failure=replace(CRASH, reason=Reason.CRASH_LOOP))
    seen = workers(STARTING, workers=(old, Worker("w1", NEW, STARTING)))
    assert isinstance(step_of(document_of(), rollout(R), EndpointView(workers=seen)), Wait)


def test_a_missed_deadline_names_what_is_known() -> None:
    seen = workers(STARTING, failure=Failure(Reason.UNSCHEDULABLE, "no node has 9 cores"))
    for state, code in ((seen, Reason.UNSCHEDULABLE), (workers(STARTING), Reason.NEVER_READY)):
        record = only(step_of(document_of(), rollout(R, deadline=NOW), EndpointView(workers=state))).record
        assert record is not None
        assert record.failure is not None
        assert record.failure.code is code


def test_putting_back_applies_the_old_template_under_the_new_generation() -> None:
    known = rollout(F, serving=SERVING_OLD)
    step = only(step_of(document_of(**SHOWN_FAILED), known, EndpointView(workers=workers(BACKOFF))))
    assert isinstance(step.action, PutBack)
    assert step.action.environment.requirements == OLD_SPEC.bundle.requirements
    assert (step.action.workers.revision, step.action.workers.generation) == (OLD, 2)
    assert step.facts == ()


def test_a_generation_that_is_begun_anew_has_another_nonce_and_nothing_applied() -> None:
    for known in (rollout(S), rollout(R), rollout(F, serving=SERVING_OLD, applied_revision=OLD)):
        begun = only(step_of(document_of(**SHOWN), known, EndpointView())).record
        assert begun is not None
        assert (begun.generation, begun.attempt, begun.applied_revision) == (2, 1, None)
        assert begun.serving == known.serving


@pytest.mark.parametrize(("spec", "queue"), [(SPEC, False), (ASYNC, True)])
def test_only_async_endpoints_have_a_queue(spec: EndpointSpec, queue: bool) -> None:
    apply = only(step_of(document_of(spec=spec), rollout(P), EndpointView(preparation=prepared(PrepState.READY))))
    assert isinstance(apply.action, Apply)
    assert (apply.action.queue is not None) == queue
    release = only(step_of(document_of(3, spec, **GOING), rollout(D), EndpointView()))
    assert (release.action == RemoveQueue("end_1")) == queue
    assert said(release) == ["endpoint released"]


def test_a_lost_queue_is_made_again_as_it_should_be() -> None:
    seen = EndpointView(workers=workers(READY), queue=False)
    step = only(step_of(document_of(spec=ASYNC, **SHOWN), rollout(S), seen))
    assert isinstance(step.action, MakeQueue)
    assert step.action.queue.max_ack_pending == 16


def test_a_deletion_carries_the_last_generation() -> None:
    step = only(step_of(document_of(7, **GOING), rollout(S)))
    assert step.action == Delete("end_1", 7)
    assert step.record is not None
    assert step.record.generation == 7
