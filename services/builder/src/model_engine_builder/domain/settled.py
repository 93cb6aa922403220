"""Which endpoints a resync may pass by. Says yes only where a pass would find nothing to do."""

from dataclasses import dataclass

from model_engine_builder.domain.rollout import RolloutPhase
from model_engine_builder.domain.view import EndpointView


@dataclass(frozen=True, slots=True)
class EndpointSummary:
    """What a resync reads of an endpoint."""

    id: str
    generation: int
    serving_generation: int | None
    deletion_requested: bool
    has_queue: bool


@dataclass(frozen=True, slots=True)
class RolloutSummary:
    """What a resync reads of a rollout."""

    generation: int
    phase: RolloutPhase
    revision: str | None


def is_settled(endpoint: EndpointSummary, rollout: RolloutSummary | None, view: EndpointView) -> bool:
    """Whether the newest generation serves, is known to, and runs as it should."""
    if rollout is None or endpoint.deletion_requested:
        return False
    if not endpoint.generation == rollout.generation == endpoint.serving_generation:
        return False
    if rollout.phase is not RolloutPhase.SUCCEEDED or view.queue is False:
        return False
    if view.trouble is not None:
        return True
    workers = view.workers
    return workers is not None and workers.generation >= rollout.generation and workers.revision == rollout.revision
