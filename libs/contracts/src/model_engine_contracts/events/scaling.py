"""Scaling: facts of the autoscaler."""

from typing import Any, ClassVar

from pydantic import Field

from model_engine_contracts.envelope import EventData


class ScalingDecided(EventData):
    """The autoscaler set the number of workers. `inputs` are the figures that the decision was made from.

    `epoch` is the autoscaler leader's lease epoch. Values of `inputs` are numbers, texts or null.
    """

    AGGREGATE: ClassVar[str] = "scaling"
    VERB: ClassVar[str] = "decided"
    ENTITY: ClassVar[str] = "endpoint_id"

    endpoint_id: str
    epoch: int = Field(ge=0)
    from_workers: int = Field(ge=0)
    to_workers: int = Field(ge=0)
    reason: str
    inputs: dict[str, Any]
