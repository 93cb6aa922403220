"""Rollouts: facts of the builder about a generation on its way to workers that answer."""

from typing import ClassVar

from pydantic import Field

from model_engine_contracts.envelope import EventData
from model_engine_contracts.failures import FailureInfo


class _RolloutFact(EventData):
    AGGREGATE: ClassVar[str] = "rollout"
    ENTITY: ClassVar[str] = "endpoint_id"

    endpoint_id: str
    generation: int = Field(ge=1)
    revision: str


class RolloutStarted(_RolloutFact):
    """The workers of this revision were asked for."""

    VERB: ClassVar[str] = "started"


class RolloutSucceeded(_RolloutFact):
    """A worker of this revision answered its readiness route (or nothing had to change)."""

    VERB: ClassVar[str] = "succeeded"


class RolloutFailed(_RolloutFact):
    """The generation failed. `serving_revision` is the last good revision, which serves on, if there is one."""

    VERB: ClassVar[str] = "failed"

    failure: FailureInfo
    serving_revision: str | None = None
