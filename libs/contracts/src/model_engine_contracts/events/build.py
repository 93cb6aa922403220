"""Builds: facts of the builder about the environment that an endpoint's generation needs."""

from typing import ClassVar

from pydantic import Field

from model_engine_contracts.envelope import EventData
from model_engine_contracts.failures import FailureInfo


class _BuildFact(EventData):
    AGGREGATE: ClassVar[str] = "build"
    ENTITY: ClassVar[str] = "endpoint_id"

    endpoint_id: str
    generation: int = Field(ge=1)
    environment_key: str


class BuildStarted(_BuildFact):
    """The runtime was asked to prepare the environment."""

    VERB: ClassVar[str] = "started"


class BuildSucceeded(_BuildFact):
    """The environment is ready. `shared` tells that it existed already."""

    VERB: ClassVar[str] = "succeeded"

    shared: bool = False


class BuildFailed(_BuildFact):
    """The environment could not be prepared; this generation cannot run."""

    VERB: ClassVar[str] = "failed"

    failure: FailureInfo
