"""How a generation ends: the steps that say and remember that it succeeded or failed, and when workers have failed."""

from datetime import datetime

from model_engine_builder.domain.rollout import Rollout, RolloutPhase, Serving
from model_engine_builder.domain.steps import Step
from model_engine_contracts.documents import EndpointSpec
from model_engine_contracts.events import BuildFailed, EventData, RolloutFailed, RolloutSucceeded
from model_engine_contracts.failures import FailureInfo, Reason, failure_info
from model_engine_runtime.protocol import Failure, SetState, Worker, WorkerState

RETRIED_ONCE = frozenset({Reason.EXITED, Reason.OUT_OF_MEMORY})
"""A worker may end like this once without failing its rollout."""

PASSING = frozenset(
    {
        Reason.UNSCHEDULABLE,
        Reason.QUOTA_EXCEEDED,
        Reason.IMAGE_PULL_FAILED,
        Reason.REGISTRY_UNAVAILABLE,
        Reason.EVICTED,
        Reason.NODE_LOST,
        Reason.RUNTIME_UNAVAILABLE,
    }
)
"""What may pass by itself: the rollout goes on until its deadline. Every other failure ends it at once."""

NO_REVISION = "none"
"""Said of a generation that failed before it had a template."""


def succeeded_step(
    name: str,
    rollout: Rollout,
    spec: EndpointSpec,
    revision: str,
    environment_key: str,
    version: str | None,
    now: datetime,
) -> Step:
    """This generation serves. It may be told again: its fact has one id."""
    serving = Serving(
        generation=rollout.generation,
        revision=revision,
        environment_key=environment_key,
        artifact_version=version,
        spec=spec,
    )
    record = rollout.model_copy(
        update={
            "phase": RolloutPhase.SUCCEEDED,
            "since": now,
            "deadline": None,
            "environment_key": environment_key,
            "artifact_version": version,
            "revision": revision,
            "applied_revision": revision,
            "applied_generation": rollout.generation,
            "failure": None,
            "serving": serving,
        }
    )
    return Step(name, facts=outcome_facts(record), record=record)


def failed_step(rollout: Rollout, failure: FailureInfo, now: datetime) -> Step:
    """This generation does not work; what served before is put back by the next step."""
    record = rollout.model_copy(
        update={"phase": RolloutPhase.FAILED, "since": now, "deadline": None, "failure": failure}
    )
    facts = outcome_facts(record)
    if rollout.phase is RolloutPhase.PREPARING and rollout.environment_key is not None:
        build_failed = BuildFailed(
            endpoint_id=rollout.endpoint_id,
            generation=rollout.generation,
            environment_key=rollout.environment_key,
            failure=failure,
        )
        facts = (build_failed, *facts)
    return Step("fail", facts=facts, record=record)


def outcome_facts(rollout: Rollout) -> tuple[EventData, ...]:
    """What is told of a generation that ended."""
    revision = rollout.revision or NO_REVISION
    if rollout.failure is None:
        return (RolloutSucceeded(endpoint_id=rollout.endpoint_id, generation=rollout.generation, revision=revision),)
    return (
        RolloutFailed(
            endpoint_id=rollout.endpoint_id,
            generation=rollout.generation,
            revision=revision,
            failure=rollout.failure,
            serving_revision=rollout.serving.revision if rollout.serving is not None else None,
        ),
    )


def info_of(failure: Failure) -> FailureInfo:
    """A failure of the runtime with its remedy."""
    return failure_info(failure.reason, failure.message, failure.exit_code, failure.log_tail)


def rollout_failure(state: SetState, revision: str | None) -> FailureInfo | None:
    """Why this revision will not come up, or None while it still may."""
    workers = [worker for worker in state.workers if worker.revision == revision]
    for worker in workers:
        failure = worker.failure
        if failure is None:
            continue
        if _is_final(failure.reason) or (failure.reason in RETRIED_ONCE and _ended_twice(worker)):
            return info_of(failure)
    # A set that fails without a worker was refused as a whole.
    if state.failure is not None and (not workers or _is_final(state.failure.reason)):
        return info_of(state.failure)
    return None


def _is_final(reason: Reason) -> bool:
    return reason not in RETRIED_ONCE and reason not in PASSING


def _ended_twice(worker: Worker) -> bool:
    return worker.restarts >= 2 or (worker.restarts == 1 and worker.state is WorkerState.BACKOFF)
