"""The whole state machine as a table: what is known, and the step that follows from it."""

from typing import Any

import pytest

from model_engine_builder.domain.rollout import Rollout, RolloutPhase
from model_engine_builder.domain.steps import Wait
from model_engine_builder.domain.view import EndpointView
from model_engine_contracts.documents import EndpointDocument
from model_engine_contracts.endpoint_states import EndpointType, Phase
from model_engine_contracts.failures import Reason, failure_info
from model_engine_runtime.protocol import PrepState, WorkerState

from .situations import NEW, NOW, OLD, SERVING_OLD, ago, document_of, prepared, rollout, spec_of, step_of, workers

P, R, S, F, D, X = (
    RolloutPhase.PREPARING,
    RolloutPhase.ROLLING_OUT,
    RolloutPhase.SUCCEEDED,
    RolloutPhase.FAILED,
    RolloutPhase.DELETING,
    RolloutPhase.RELEASED,
)
IMAGE = spec_of(bundle={"flavor": "runnable_image", "flavor_json": "{}"})
ASYNC = spec_of(endpoint_type=EndpointType.ASYNC)

WANTED = document_of()
KNOWN = document_of(status={"serving_generation": 2})
KNOWN_FAILED = document_of(status={"phase": Phase.FAILED})
WANTED_IMAGE = document_of(spec=IMAGE)
KNOWN_ASYNC = document_of(spec=ASYNC, status={"serving_generation": 2})
GOING = document_of(3, deletion_requested=True)

NOTHING: dict[str, Any] = {}
AWAY = {"trouble": "no agent", "trouble_since": ago(5)}
LONG_AWAY = {"trouble": "no agent", "trouble_since": ago(31)}
QUEUED = {"preparation": prepared(PrepState.QUEUED)}
BUILDING = {"preparation": prepared(PrepState.BUILDING)}
BUILT = {"preparation": prepared(PrepState.READY)}
NOT_BUILT = {"preparation": prepared(PrepState.FAILED, Reason.BUILD_FAILED)}
NOT_BUILT_BEFORE = {"preparation": prepared(PrepState.FAILED, Reason.BUILD_FAILED, ago(61))}
STARTING = {"workers": workers(WorkerState.STARTING)}
READY = {"workers": workers(WorkerState.READY)}
CRASHING = {"workers": workers(WorkerState.BACKOFF)}
OLD_READY = {"workers": workers(WorkerState.READY, OLD)}
OLDER_READY = {"workers": workers(WorkerState.READY, OLD, generation=1)}
ONLY_OLD_READY = {"workers": workers(WorkerState.READY, OLD, revision=NEW)}
OLDER_GENERATION = {"workers": workers(WorkerState.READY, generation=1)}
AT_ZERO = {"workers": workers(WorkerState.READY, workers=(), replicas=0)}
DRAINING = {"workers": workers(WorkerState.READY, deleting=True)}
GONE = {"gone_at": NOW}
GONE_BEFORE = {"gone_at": ago(2)}

LOST_RUNTIME = rollout(F, failure=failure_info(Reason.RUNTIME_UNAVAILABLE))
UNBUILT = rollout(F, revision=None, applied_revision=None)
UNBUILT_UPDATE = rollout(F, serving=SERVING_OLD, revision=None, applied_revision=OLD, applied_generation=1)
PUT_BACK = rollout(F, serving=SERVING_OLD, applied_revision=OLD)
PREPARING_IMAGE = rollout(P, environment_key=None)

# name, document, what is remembered, what is seen, the step, the phase that is remembered then
TABLE: list[tuple[str, EndpointDocument, Rollout | None, dict[str, Any], str, RolloutPhase | None]] = [
    ("the first generation", document_of(1), None, NOTHING, "begin", P),
    ("a newer one pre-empts a build", document_of(3), rollout(P), BUILDING, "begin", P),
    ("a newer one pre-empts a rollout", document_of(3), rollout(R), STARTING, "begin", P),
    ("a newer one after a failure", document_of(3), rollout(F), NOTHING, "begin", P),
    # preparing
    ("images cannot run", WANTED_IMAGE, PREPARING_IMAGE, NOTHING, "fail", F),
    ("images fail without a runtime, too", WANTED_IMAGE, PREPARING_IMAGE, AWAY, "fail", F),
    ("the environment is asked for", WANTED, rollout(P, environment_key=None), NOTHING, "prepare", P),
    ("the runtime has forgotten it", WANTED, rollout(P), NOTHING, "prepare", P),
    ("a failure from before", WANTED, rollout(P), NOT_BUILT_BEFORE, "prepare", P),
    ("it waits for its turn", WANTED, rollout(P), QUEUED, "wait for the deadline", None),
    ("it is being built", WANTED, rollout(P), BUILDING, "wait for the deadline", None),
    ("it is built for too long", WANTED, rollout(P, deadline=NOW), BUILDING, "fail", F),
    ("it cannot be built", WANTED, rollout(P), NOT_BUILT, "fail", F),
    ("it is ready", WANTED, rollout(P), BUILT, "apply", R),
    ("ready at the last moment", WANTED, rollout(P, deadline=NOW), BUILT, "apply", R),
    ("the runtime is away for a moment", WANTED, rollout(P), AWAY, "wait", None),
    ("the runtime is away for long", WANTED, rollout(P), LONG_AWAY, "fail", F),
    ("away, but this one has only begun", WANTED, rollout(P, since=ago(1)), LONG_AWAY, "wait", None),
    # rolling out
    ("a worker starts", WANTED, rollout(R), STARTING, "wait for the deadline", None),
    ("a worker answers", WANTED, rollout(R), READY, "succeed", S),
    ("a worker answers at the last moment", WANTED, rollout(R, deadline=NOW), READY, "succeed", S),
    ("only the old ones answer", WANTED, rollout(R), ONLY_OLD_READY, "wait for the deadline", None),
    ("not seen yet", WANTED, rollout(R, since=ago(1)), NOTHING, "wait", None),
    ("an older set is seen yet", WANTED, rollout(R, since=ago(1)), OLDER_READY, "wait", None),
    ("the runtime lost it", WANTED, rollout(R), NOTHING, "begin", P),
    ("no worker in time", WANTED, rollout(R, deadline=NOW), STARTING, "fail", F),
    ("the runtime goes away", WANTED, rollout(R), LONG_AWAY, "fail", F),
    # succeeded
    ("settled", KNOWN, rollout(S), READY, "rest", None),
    ("settled at zero", KNOWN, rollout(S), AT_ZERO, "rest", None),
    ("settled and crashing", KNOWN, rollout(S), CRASHING, "rest", None),
    ("settled, the runtime away", KNOWN, rollout(S), LONG_AWAY, "rest", None),
    ("the workers were lost", KNOWN, rollout(S), NOTHING, "begin", P),
    ("the view may be older", KNOWN, rollout(S, since=ago(1)), NOTHING, "wait", None),
    ("another template runs", KNOWN, rollout(S), OLD_READY, "begin", P),
    ("an older generation runs", KNOWN, rollout(S), OLDER_GENERATION, "begin", P),
    ("not known yet", WANTED, rollout(S, since=ago(1)), READY, "wait", None),
    ("still not known", WANTED, rollout(S), READY, "repeat", None),
    ("the queue was lost", KNOWN_ASYNC, rollout(S), READY | {"queue": False}, "make-queue", None),
    ("the queue is there", KNOWN_ASYNC, rollout(S), READY | {"queue": True}, "rest", None),
    ("whether it is is not known", KNOWN_ASYNC, rollout(S), READY, "rest", None),
    # failed
    ("failed, nothing else serves", KNOWN_FAILED, rollout(F), CRASHING, "rest", None),
    ("it made it after all", KNOWN_FAILED, rollout(F), READY, "succeed", S),
    ("failed and never applied", KNOWN_FAILED, UNBUILT, NOTHING, "rest", None),
    ("failed, not known", WANTED, rollout(F), CRASHING, "repeat", None),
    ("failed, not known yet", WANTED, rollout(F, since=ago(1)), CRASHING, "wait", None),
    ("the last good one is put back", KNOWN_FAILED, rollout(F, serving=SERVING_OLD), CRASHING, "put-back", F),
    ("after a failed build, too", KNOWN_FAILED, UNBUILT_UPDATE, OLDER_READY, "put-back", F),
    ("it is put back", KNOWN_FAILED, PUT_BACK, OLD_READY, "rest", None),
    ("what was put back is lost", KNOWN_FAILED, PUT_BACK, NOTHING, "begin", P),
    ("the runtime is back", KNOWN_FAILED, LOST_RUNTIME, NOTHING, "begin", P),
    ("the runtime is still away", KNOWN_FAILED, LOST_RUNTIME, LONG_AWAY, "rest", None),
    # deletion
    ("of what was never begun", document_of(1, deletion_requested=True), None, NOTHING, "delete", D),
    ("deletion in mid-build", GOING, rollout(P), BUILDING, "delete", D),
    ("deletion in mid-rollout", GOING, rollout(R), STARTING, "delete", D),
    ("deletion of what serves", GOING, rollout(S), READY, "delete", D),
    ("deletion without a runtime", GOING, rollout(S), LONG_AWAY, "rest", None),
    ("workers drain", GOING, rollout(D, since=ago(1)), DRAINING, "wait", None),
    ("workers drain for long", GOING, rollout(D, since=ago(25)), DRAINING, "wait", None),
    ("the deletion was lost", GOING, rollout(D), READY, "delete", D),
    ("gone", GOING, rollout(D, since=ago(1)), GONE, "release", X),
    ("gone before it was asked for", GOING, rollout(D, since=ago(1)), GONE_BEFORE, "wait", None),
    ("nothing is seen of it", GOING, rollout(D), NOTHING, "release", X),
    ("released, not known yet", GOING, rollout(X, since=ago(1)), NOTHING, "wait", None),
    ("released, still not known", GOING, rollout(X), NOTHING, "repeat", None),
    ("a tombstone", document_of(3, deletion_requested=True, tombstone=True), rollout(X), NOTHING, "rest", None),
]


@pytest.mark.parametrize(
    ("document", "known", "seen", "name", "phase"), [pytest.param(*row[1:], id=row[0]) for row in TABLE]
)
def test_the_next_step(
    document: EndpointDocument, known: Rollout | None, seen: dict[str, Any], name: str, phase: RolloutPhase | None
) -> None:
    step = step_of(document, known, EndpointView(**seen))
    if isinstance(step, Wait):
        deadline = known.deadline if known is not None else None
        waiting = "rest" if step.until is None else "wait for the deadline" if step.until == deadline else "wait"
        assert (waiting, None) == (name, phase)
        assert step.until is None or step.until > NOW
    else:
        assert (step.name, step.record and step.record.phase) == (name, phase)
