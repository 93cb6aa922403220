"""The way out: deletion is a desired state with a finaliser, over only when the runtime has nothing left."""

from datetime import datetime, timedelta

from model_engine_builder.domain.rollout import Rollout, RolloutPhase
from model_engine_builder.domain.steps import Delete, RemoveQueue, Step, Wait
from model_engine_builder.domain.view import EndpointView
from model_engine_builder.domain.worker_set import Limits
from model_engine_contracts.documents import EndpointDocument
from model_engine_contracts.endpoint_states import EndpointType
from model_engine_contracts.events import EndpointReleased


def deletion_step(
    document: EndpointDocument, rollout: Rollout | None, view: EndpointView, now: datetime, limits: Limits
) -> Step | Wait:
    """Delete the workers, wait until they are gone, remove the queue, release the endpoint."""
    if rollout is not None and rollout.phase is RolloutPhase.RELEASED:
        # The document is still there: what was told may have been lost.
        report_at = rollout.since + timedelta(seconds=limits.report)
        return Step("repeat", facts=(_released(document),)) if now >= report_at else Wait(report_at)
    if view.trouble is not None:
        return Wait()
    if rollout is None or rollout.phase is not RolloutPhase.DELETING:
        return _delete(document, now)
    if view.workers is not None:
        again_at = rollout.since + timedelta(seconds=limits.repeat_deletion)
        return _delete(document, now) if now >= again_at and not view.workers.deleting else Wait(again_at)
    settled_at = rollout.since + timedelta(seconds=limits.settle)
    if now < settled_at and (view.gone_at is None or view.gone_at < rollout.since):
        return Wait(settled_at)
    return Step(
        "release",
        RemoveQueue(document.id) if document.spec.endpoint_type is EndpointType.ASYNC else None,
        facts=(_released(document),),
        record=rollout.model_copy(update={"phase": RolloutPhase.RELEASED, "since": now}),
    )


def _delete(document: EndpointDocument, now: datetime) -> Step:
    record = Rollout(endpoint_id=document.id, generation=document.generation, phase=RolloutPhase.DELETING, since=now)
    return Step("delete", Delete(document.id, document.generation), record=record)


def _released(document: EndpointDocument) -> EndpointReleased:
    return EndpointReleased(endpoint_id=document.id, generation=document.generation)
