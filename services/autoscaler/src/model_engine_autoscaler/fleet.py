"""What the autoscaler knows of the endpoints: their targets from MongoDB, their workers from the cache."""

from dataclasses import dataclass, field

from model_engine_autoscaler.domain.policy import Memory, Target
from model_engine_contracts.documents import EndpointDocument
from model_engine_contracts.endpoint_states import Phase
from model_engine_contracts.events import EndpointObserved

REPEAT_AFTER = 5.0
"""Seconds after which an order that the runtime has not shown yet is given again."""


@dataclass(slots=True)
class Member:
    """One endpoint. `version` is that of the document `target` comes from; `ordered` is the number of workers asked
    for last, at `ordered_at` on the monotonic clock.
    """

    endpoint_id: str
    target: Target | None = None
    version: int = -1
    observed: EndpointObserved | None = None
    memory: Memory = field(default_factory=Memory)
    ordered: int | None = None
    ordered_at: float = 0.0

    def current(self, now: float) -> int:
        """The number of workers asked for so far: a fresh order of ours, else what the runtime says."""
        if self.ordered is not None and now - self.ordered_at < REPEAT_AFTER:
            return self.ordered
        return self.observed.replicas if self.observed is not None else 0

    @property
    def scalable(self) -> bool:
        """Whether the runtime has this endpoint and its desired state is known."""
        return self.target is not None and self.observed is not None and not self.observed.gone


@dataclass(slots=True)
class Fleet:
    """All endpoints by id."""

    members: dict[str, Member] = field(default_factory=dict)

    def member(self, endpoint_id: str) -> Member:
        """The endpoint's entry, made when it is new."""
        return self.members.setdefault(endpoint_id, Member(endpoint_id))

    def record_document(self, document: EndpointDocument) -> None:
        """Keep the newest desired state; an endpoint that is to be deleted is nobody's to scale."""
        if document.deletion_requested or document.tombstone:
            self.members.pop(document.id, None)
            return
        entry = self.member(document.id)
        # The first reading of all documents may bring one that was read before its event.
        if document.version >= entry.version:
            entry.target, entry.version = target_of(document), document.version

    def record_observed(self, observed: EndpointObserved) -> None:
        """Keep the observation unless a newer one is known."""
        entry = self.member(observed.endpoint_id)
        known = entry.observed
        if known is None or (observed.epoch, observed.counter) > (known.epoch, known.counter):
            entry.observed = observed
            if entry.ordered == observed.replicas:
                entry.ordered = None
        if observed.gone and entry.target is None:
            self.members.pop(observed.endpoint_id, None)

    def forget(self, endpoint_id: str) -> None:
        """The document is gone."""
        self.members.pop(endpoint_id, None)


def target_of(document: EndpointDocument) -> Target:
    """What the policy needs of a document."""
    scaling, status = document.spec.scaling, document.status
    return Target(
        endpoint_type=document.spec.endpoint_type,
        min_workers=scaling.min_workers,
        max_workers=scaling.max_workers,
        per_worker=scaling.per_worker,
        rolling_out=status.serving_generation != document.generation and status.phase is not Phase.FAILED,
    )
