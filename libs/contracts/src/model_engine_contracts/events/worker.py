"""Workers: facts of the cache about single workers."""

from typing import ClassVar

from model_engine_contracts.envelope import EventData
from model_engine_contracts.failures import FailureInfo


class _WorkerFact(EventData):
    AGGREGATE: ClassVar[str] = "worker"
    ENTITY: ClassVar[str] = "endpoint_id"

    endpoint_id: str
    worker_id: str
    revision: str


class WorkerReady(_WorkerFact):
    """A worker became ready."""

    VERB: ClassVar[str] = "ready"


class WorkerLost(_WorkerFact):
    """A worker that was ready no longer is; `failure` says why where the runtime knows."""

    VERB: ClassVar[str] = "lost"

    failure: FailureInfo | None = None
