"""Endpoints: what users asked for and what became of it. History events, but for the facts at the end."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from model_engine_contracts.endpoint_states import EndpointType, Phase, WireStatus
from model_engine_contracts.envelope import EventData
from model_engine_contracts.failures import FailureInfo


class _EndpointHistory(EventData):
    AGGREGATE: ClassVar[str] = "endpoint"
    ENTITY: ClassVar[str] = "endpoint_id"
    HISTORY: ClassVar[bool] = True

    endpoint_id: str
    name: str
    generation: int = Field(ge=1)


class EndpointRequested(_EndpointHistory):
    """An endpoint was created: generation 1 of its desired state is recorded."""

    VERB: ClassVar[str] = "requested"

    endpoint_type: EndpointType
    bundle_id: str
    requested_by: str


class EndpointUpdated(_EndpointHistory):
    """A new generation of the desired state is recorded. `changed` names the fields, sorted."""

    VERB: ClassVar[str] = "updated"

    changed: tuple[str, ...]
    requested_by: str


class EndpointDeletionRequested(_EndpointHistory):
    """The desired state is now: gone. The last generation of the endpoint."""

    VERB: ClassVar[str] = "deletion-requested"

    requested_by: str


class EndpointStatusChanged(_EndpointHistory):
    """The phase of an endpoint changed. `generation` is the one that the status speaks of."""

    VERB: ClassVar[str] = "status-changed"

    phase: Phase
    status: WireStatus
    failure: FailureInfo | None = None


class EndpointWorkersChanged(_EndpointHistory):
    """The set of an endpoint's workers changed: how many are wanted and how many answer."""

    VERB: ClassVar[str] = "workers-changed"

    desired_workers: int = Field(ge=0)
    available_workers: int = Field(ge=0)
    unavailable_workers: int = Field(ge=0)


class EndpointWorkerReady(_EndpointHistory):
    """A worker answers its readiness route and takes requests."""

    VERB: ClassVar[str] = "worker-ready"

    worker_id: str
    revision: str


class EndpointWorkerLost(_EndpointHistory):
    """A worker that was ready is gone or does not answer any more."""

    VERB: ClassVar[str] = "worker-lost"

    worker_id: str
    revision: str
    failure: FailureInfo | None = None


class EndpointScaled(_EndpointHistory):
    """The number of workers was changed by the autoscaler, and why."""

    VERB: ClassVar[str] = "scaled"

    from_workers: int = Field(ge=0)
    to_workers: int = Field(ge=0)
    reason: str
    inputs: dict[str, Any]


class EndpointDeleted(_EndpointHistory):
    """Nothing of the endpoint is left; its name is free again."""

    VERB: ClassVar[str] = "deleted"


class ObservedWorker(BaseModel):
    """One worker as the runtime sees it; its states are those of the runtime's protocol."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    revision: str
    state: str
    address: str | None = None
    restarts: int = 0
    failure: FailureInfo | None = None


class EndpointObserved(EventData):
    """Fact of the cache: the whole set of workers as it is now. The highest (epoch, counter) wins.

    `epoch` is the cache leader's lease epoch, `counter` increases within it. `gone` means that the runtime has nothing
    of this endpoint any more.
    """

    AGGREGATE: ClassVar[str] = "endpoint"
    VERB: ClassVar[str] = "observed"
    ENTITY: ClassVar[str] = "endpoint_id"

    endpoint_id: str
    epoch: int = Field(ge=0)
    counter: int = Field(ge=0)
    generation: int = Field(ge=0)
    replicas: int = Field(ge=0)
    workers: tuple[ObservedWorker, ...] = ()
    failure: FailureInfo | None = None
    gone: bool = False


class EndpointReleased(EventData):
    """Fact of the builder: the runtime has nothing of a deleted endpoint any more, so its record may go."""

    AGGREGATE: ClassVar[str] = "endpoint"
    VERB: ClassVar[str] = "released"
    ENTITY: ClassVar[str] = "endpoint_id"

    endpoint_id: str
    generation: int = Field(ge=1)
