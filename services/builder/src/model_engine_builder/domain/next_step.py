"""The builder's state machine: from the desired state, what is remembered and what is seen, to the next step."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from model_engine_builder.domain.deletion import deletion_step
from model_engine_builder.domain.outcome import failed_step, info_of, outcome_facts, rollout_failure, succeeded_step
from model_engine_builder.domain.rollout import Rollout, RolloutPhase, Serving
from model_engine_builder.domain.steps import Apply, MakeQueue, Prepare, PutBack, Step, Wait
from model_engine_builder.domain.view import EndpointView
from model_engine_builder.domain.worker_set import Limits, environment_of, refusal_of, worker_set_of
from model_engine_contracts.documents import EndpointDocument, EndpointSpec
from model_engine_contracts.endpoint_states import EndpointType, Phase
from model_engine_contracts.events import BuildSucceeded, RolloutStarted
from model_engine_contracts.failures import Reason, failure_info
from model_engine_contracts.topology import ConsumerSpec, task_consumer
from model_engine_runtime.protocol import PrepState, WorkerSet, WorkerState


def next_step(
    document: EndpointDocument,
    rollout: Rollout | None,
    view: EndpointView,
    now: datetime,
    limits: Limits,
    installation: str,
) -> Step | Wait:
    """What is to be done now for one endpoint. `rollout` is None before the first generation was begun.

    A newer generation pre-empts an older one, a deletion everything.
    """
    if document.tombstone:
        return Wait()
    if document.deletion_requested:
        return deletion_step(document, rollout, view, now, limits)
    if rollout is None:
        return Step("begin", record=_beginning(document, now, limits))
    machine = _Generation(document, rollout, view, now, limits, installation)
    if rollout.generation < document.generation:
        return machine.begin()
    match rollout.phase:
        case RolloutPhase.PREPARING:
            return machine.preparing()
        case RolloutPhase.ROLLING_OUT:
            return machine.rolling_out()
        case RolloutPhase.SUCCEEDED:
            return machine.succeeded()
        case RolloutPhase.FAILED:
            return machine.failed()
        case RolloutPhase.DELETING | RolloutPhase.RELEASED:
            # A deletion is final.
            return Wait()


def _beginning(document: EndpointDocument, now: datetime, limits: Limits) -> Rollout:
    return Rollout(
        endpoint_id=document.id,
        generation=document.generation,
        phase=RolloutPhase.PREPARING,
        since=now,
        deadline=now + timedelta(seconds=limits.queue + limits.build),
    )


@dataclass(frozen=True, slots=True)
class _Generation:
    """The present generation on its way: a method for each phase, then what they share."""

    document: EndpointDocument
    rollout: Rollout
    view: EndpointView
    now: datetime
    limits: Limits
    installation: str

    def begin(self, *, attempt: int = 0, lost: bool = False) -> Step:
        """Remember that this generation is under way; from here on it has a deadline."""
        kept = {
            "attempt": attempt,
            "serving": self.rollout.serving,
            "applied_revision": None if lost else self.rollout.applied_revision,
            "applied_generation": None if lost else self.rollout.applied_generation,
        }
        record = _beginning(self.document, self.now, self.limits).model_copy(update=kept)
        return Step("begin", record=record)

    def preparing(self) -> Step | Wait:
        """Until the environment is there."""
        rollout, spec = self.rollout, self.document.spec
        if (refusal := refusal_of(spec)) is not None:
            return failed_step(rollout, refusal, self.now)
        if self.view.trouble is not None:
            return self._without_runtime(self.view.trouble)
        if (serving := self._unchanged()) is not None:
            return self._adopt(serving)
        key, preparation = rollout.environment_key, self.view.preparation
        if key is None or preparation is None or self._is_old_failure(preparation.state, preparation.changed_at):
            environment = environment_of(spec, self.limits)
            return Step("prepare", Prepare(environment, spec.bundle, rollout.since), record=rollout)
        if preparation.state is PrepState.READY:
            return self._apply(self._workers(spec, key))
        if preparation.failure is not None:
            return failed_step(rollout, info_of(preparation.failure), self.now)
        if self._is_overdue:
            return failed_step(rollout, failure_info(Reason.BUILD_TIMEOUT), self.now)
        return Wait(rollout.deadline)

    def rolling_out(self) -> Step | Wait:
        """Until a worker of the new revision answers."""
        rollout, state = self.rollout, self.view.workers
        if self.view.trouble is not None:
            return self._without_runtime(self.view.trouble)
        if state is None or state.generation < rollout.generation:
            return self._begin_again()
        if self._answers(rollout.revision):
            return self._succeed()
        if (failure := rollout_failure(state, rollout.revision)) is not None:
            return failed_step(rollout, failure, self.now)
        if self._is_overdue:
            known = info_of(state.failure) if state.failure is not None else failure_info(Reason.NEVER_READY)
            return failed_step(rollout, known, self.now)
        return Wait(rollout.deadline)

    def succeeded(self) -> Step | Wait:
        """Keep it as it is, and known."""
        if self.view.trouble is not None:
            return Wait()
        if not self._runs(self.rollout.revision):
            return self._begin_again()
        return self._attend(is_shown=self._is_served)

    def failed(self) -> Step | Wait:
        """Put the last good generation back, and keep it as it is; without one, let this one try on."""
        rollout, serving = self.rollout, self.rollout.serving
        if self.view.trouble is not None:
            return Wait()
        if rollout.failure is not None and rollout.failure.code is Reason.RUNTIME_UNAVAILABLE:
            return self.begin(attempt=rollout.attempt + 1)
        is_applied = rollout.revision is not None and rollout.revision == rollout.applied_revision
        if is_applied and self._answers(rollout.revision):
            return self._succeed()
        if serving is not None and not (is_applied and rollout.revision == serving.revision):
            if (rollout.applied_generation, rollout.applied_revision) != (rollout.generation, serving.revision):
                return self._put_back(serving)
            if not self._runs(serving.revision):
                return self._begin_again()
        return self._attend(is_shown=self._is_served or self.document.status.phase is Phase.FAILED)

    def _unchanged(self) -> Serving | None:
        """What serves, if it is what the runtime has and this generation changes nothing in its workers."""
        serving, state = self.rollout.serving, self.view.workers
        if serving is None or state is None:
            return None
        if not serving.revision == state.revision == self.rollout.applied_revision:
            return None
        if environment_of(serving.spec, self.limits) != environment_of(self.document.spec, self.limits):
            return None
        workers = self._workers(self.document.spec, serving.environment_key)
        return serving if workers.revision == serving.revision else None

    def _adopt(self, serving: Serving) -> Step:
        """Tell the runtime the number of the new generation; no worker is touched, none need be waited for."""
        key, spec = serving.environment_key, self.document.spec
        version = serving.artifact_version
        step = succeeded_step("adopt", self.rollout, spec, serving.revision, key, version, self.now)
        return Step(step.name, Apply(self._workers(spec, key), self._queue()), step.facts, step.record)

    def _apply(self, workers: WorkerSet) -> Step:
        about = {"endpoint_id": self.document.id, "generation": self.rollout.generation}
        built = not self.rollout.build_started
        facts = (
            BuildSucceeded(**about, environment_key=workers.environment_key, shared=built),
            RolloutStarted(**about, revision=workers.revision),
        )
        record = self.rollout.model_copy(
            update={
                "phase": RolloutPhase.ROLLING_OUT,
                "since": self.now,
                "deadline": self.now + timedelta(seconds=self.limits.start + self.limits.margin),
                "revision": workers.revision,
                "applied_revision": workers.revision,
                "applied_generation": workers.generation,
            }
        )
        return Step("apply", Apply(workers, self._queue()), facts, record)

    def _succeed(self) -> Step:
        rollout = self.rollout
        assert rollout.revision is not None
        assert rollout.environment_key is not None
        return succeeded_step(
            "succeed",
            rollout,
            self.document.spec,
            rollout.revision,
            rollout.environment_key,
            rollout.artifact_version,
            self.now,
        )

    def _put_back(self, serving: Serving) -> Step:
        spec = serving.spec
        action = PutBack(
            replace(environment_of(spec, self.limits), artifact_version=serving.artifact_version),
            spec.bundle,
            self._workers(spec, serving.environment_key),
            spec.restart_nonce,
            self._queue(),
        )
        return Step("put-back", action, record=self.rollout.model_copy(update={"since": self.now}))

    def _begin_again(self) -> Step | Wait:
        """The runtime does not have what it was given: unless the view is older than the gift, begin anew."""
        settled_at = self.rollout.since + timedelta(seconds=self.limits.settle)
        return Wait(settled_at) if self.now < settled_at else self.begin(attempt=self.rollout.attempt + 1, lost=True)

    def _attend(self, *, is_shown: bool) -> Step | Wait:
        """The queue must be there, and the endpoint's status must show how this generation ended."""
        queue = self._queue()
        if queue is not None and self.view.queue is False:
            return Step("make-queue", MakeQueue(queue))
        if is_shown:
            return Wait()
        # What was told may have been lost with the stream.
        report_at = self.rollout.since + timedelta(seconds=self.limits.report)
        return Step("repeat", facts=outcome_facts(self.rollout)) if self.now >= report_at else Wait(report_at)

    def _without_runtime(self, trouble: str) -> Step | Wait:
        since = max(self.view.trouble_since or self.now, self.rollout.since)
        limit = since + timedelta(seconds=self.limits.runtime_grace)
        if self.now < limit:
            return Wait(limit)
        return failed_step(self.rollout, failure_info(Reason.RUNTIME_UNAVAILABLE, trouble), self.now)

    def _workers(self, spec: EndpointSpec, environment_key: str) -> WorkerSet:
        return worker_set_of(self.document, spec, environment_key, self.installation, self.limits)

    def _queue(self) -> ConsumerSpec | None:
        if self.document.spec.endpoint_type is not EndpointType.ASYNC:
            return None
        scaling = self.document.spec.scaling
        return task_consumer(self.document.id, scaling.concurrent_requests_per_worker, scaling.max_workers)

    def _answers(self, revision: str | None) -> bool:
        state = self.view.workers
        return state is not None and any(
            worker.revision == revision and worker.state is WorkerState.READY for worker in state.workers
        )

    def _runs(self, revision: str | None) -> bool:
        state = self.view.workers
        return state is not None and state.generation >= self.rollout.generation and state.revision == revision

    def _is_old_failure(self, state: PrepState, changed_at: float) -> bool:
        return state is PrepState.FAILED and changed_at < self.rollout.since.timestamp()

    @property
    def _is_served(self) -> bool:
        return self.document.status.serving_generation == self.document.generation

    @property
    def _is_overdue(self) -> bool:
        return self.rollout.deadline is not None and self.now >= self.rollout.deadline
