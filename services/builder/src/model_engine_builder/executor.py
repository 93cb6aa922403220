"""Takes one step: acts in the runtime, tells what there is to tell, and remembers it last."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from prometheus_client import Counter

from model_engine_builder.artifact_sources import ArtifactMissing, Located
from model_engine_builder.clock import now
from model_engine_builder.domain.outcome import failed_step
from model_engine_builder.domain.rollout import Rollout
from model_engine_builder.domain.steps import Apply, Delete, MakeQueue, Prepare, PutBack, RemoveQueue, Step
from model_engine_builder.domain.view import RuntimeView
from model_engine_builder.domain.worker_set import with_environment
from model_engine_builder.queues import Queues
from model_engine_builder.repository import RolloutRepository
from model_engine_chassis.leases import Lease
from model_engine_contracts.documents import BundleSnapshot
from model_engine_contracts.events import BuildStarted, Event, EventData, new_event
from model_engine_contracts.failures import Reason, failure_info
from model_engine_contracts.topology import ConsumerSpec
from model_engine_runtime.errors import EnvironmentNotReady, ForeignInstallation, InvalidRequest, StaleGeneration
from model_engine_runtime.protocol import Environment, PrepState, Runtime, WorkerSet

log = logging.getLogger(__name__)

SOURCE = "builder"

Locate = Callable[[BundleSnapshot, str, str | None], Awaitable[Located]]

STEPS = Counter("modelengine_builder_steps", "Steps taken.", ["step"])


@dataclass(frozen=True, slots=True)
class Executor:
    """`locate` finds an artifact, `publish` makes an event durable. `instance` is this builder's name."""

    runtime: Runtime
    queues: Queues
    view: RuntimeView
    rollouts: RolloutRepository
    locate: Locate
    publish: Callable[[Event[Any]], Awaitable[object]]
    instance: str

    async def take(self, step: Step, lease: Lease, owner: str, attempt: int) -> Rollout | None:
        """Take the step and return what is remembered then; None where there is nothing new. `attempt` tells apart
        facts about a generation that was begun anew.

        Raises RuntimeUnavailable and the errors of MongoDB and NATS; the step is then to be taken again, whole.
        """
        record, facts = step.record, step.facts
        try:
            match step.action:
                case Prepare() if record is not None:
                    record, facts = await self._prepare(record, step.action, owner)
                case Apply(workers, queue):
                    await self._apply(workers, queue)
                case PutBack() if record is not None:
                    record = await self._put_back(record, step.action, owner)
                case MakeQueue(queue):
                    await self.queues.ensure(queue)
                case Delete(endpoint_id, generation):
                    await self.runtime.delete(endpoint_id, generation)
                case RemoveQueue(endpoint_id):
                    await self.queues.remove(endpoint_id)
        except (InvalidRequest, StaleGeneration) as error:
            if record is None or not isinstance(step.action, Prepare | Apply):
                raise
            reason = Reason.BUILD_FAILED if isinstance(step.action, Prepare) else Reason.ADMISSION_DENIED
            refused = failed_step(record, failure_info(reason, str(error)), now())
            record, facts = refused.record, refused.facts
        except ArtifactMissing as error:
            if record is None or not isinstance(step.action, Prepare):
                raise
            missing = failed_step(record, failure_info(Reason.ARTIFACT_MISSING, str(error)), now())
            record, facts = missing.record, missing.facts
        for fact in facts:
            await self._tell(fact, owner, attempt)
        STEPS.labels(step.name).inc()
        if record is None:
            return None
        record = record.model_copy(update={"lease_epoch": lease.epoch, "builder": self.instance})
        await self.rollouts.save(record)
        log.info(
            "step taken",
            extra={
                "step": step.name,
                "endpoint": record.endpoint_id,
                "generation": record.generation,
                "phase": record.phase.value,
                "reason": record.failure.code.value if record.failure else None,
            },
        )
        return record

    async def _prepare(self, record: Rollout, action: Prepare, owner: str) -> tuple[Rollout, tuple[EventData, ...]]:
        environment = await self._located(action.environment, action.bundle, owner)
        preparation = await self.runtime.prepare(environment)
        if preparation.state is PrepState.FAILED and preparation.changed_at < action.since.timestamp():
            await self.runtime.release(preparation.key)
            self.view.forget_preparation(preparation.key)
            preparation = await self.runtime.prepare(environment)
        self.view.record_answer(preparation)
        is_built = preparation.state in (PrepState.QUEUED, PrepState.BUILDING)
        record = record.model_copy(
            update={
                "environment_key": preparation.key,
                "artifact_version": environment.artifact_version,
                "build_started": record.build_started or is_built,
            }
        )
        started = BuildStarted(
            endpoint_id=record.endpoint_id, generation=record.generation, environment_key=preparation.key
        )
        return record, (started,) if is_built else ()

    async def _put_back(self, record: Rollout, action: PutBack, owner: str) -> Rollout | None:
        environment = action.environment
        try:
            environment = await self._located(environment, action.bundle, owner)
        except ArtifactMissing as error:  # the environment is most likely there, and needs it no more
            log.warning("artifact not found", extra={"endpoint": record.endpoint_id, "cause": str(error)})
        preparation = await self.runtime.prepare(environment)
        if preparation.state is not PrepState.READY or record.serving is None:
            return None
        workers = with_environment(action.workers, preparation.key, action.nonce)
        await self._apply(workers, action.queue)
        serving = record.serving.model_copy(update={"environment_key": preparation.key, "revision": workers.revision})
        return record.model_copy(
            update={
                "applied_revision": workers.revision,
                "applied_generation": workers.generation,
                "serving": serving,
            }
        )

    async def _located(self, environment: Environment, bundle: BundleSnapshot, owner: str) -> Environment:
        """The environment with where its artifact can be read, and which version that is."""
        found = await self.locate(bundle, owner, environment.artifact_version)
        return replace(environment, artifact_url=found.url, artifact_version=found.version)

    async def _apply(self, workers: WorkerSet, queue: ConsumerSpec | None) -> None:
        if queue is not None:
            await self.queues.ensure(queue)
        try:
            await self.runtime.apply(workers)
        except EnvironmentNotReady:
            self.view.forget_preparation(workers.environment_key)
            raise
        except ForeignInstallation as error:
            self.view.record_refusal(str(error), now())
            raise

    async def _tell(self, fact: EventData, owner: str, attempt: int) -> None:
        """The id of a fact says what it is about, so one that is told twice is stored once."""
        event_id = f"{fact.entity_id}:{getattr(fact, 'generation', 0)}:{fact.AGGREGATE}-{fact.VERB}"
        event_id += f":{attempt}" if attempt else ""
        await self.publish(new_event(fact, source=SOURCE, owner=owner, event_id=event_id))
