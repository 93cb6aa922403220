"""The steps that a pass may take: what to do in the runtime, what to tell, what to remember, in this order."""

from dataclasses import dataclass
from datetime import datetime

from model_engine_builder.domain.rollout import Rollout
from model_engine_contracts.documents import BundleSnapshot
from model_engine_contracts.events import EventData
from model_engine_contracts.topology import ConsumerSpec
from model_engine_runtime.protocol import Environment, WorkerSet


@dataclass(frozen=True, slots=True)
class Prepare:
    """Have the environment made; its key and whether it is being built become part of what is remembered.

    A failure from before `since` is forgotten first. The version of an artifact whose hash is not known is found out.
    """

    environment: Environment
    bundle: BundleSnapshot
    since: datetime


@dataclass(frozen=True, slots=True)
class Apply:
    """Make the queue, then give the runtime the workers."""

    workers: WorkerSet
    queue: ConsumerSpec | None


@dataclass(frozen=True, slots=True)
class PutBack:
    """Apply the last good workers again, after making sure that their environment is there; if it is not, nothing is
    remembered, and a later pass tries again.
    """

    environment: Environment
    bundle: BundleSnapshot
    workers: WorkerSet
    nonce: int
    queue: ConsumerSpec | None


@dataclass(frozen=True, slots=True)
class MakeQueue:
    """Make the queue that should be there."""

    queue: ConsumerSpec


@dataclass(frozen=True, slots=True)
class Delete:
    """Have the workers of an endpoint removed."""

    endpoint_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class RemoveQueue:
    """Remove the endpoint's durable and what is left in its queue."""

    endpoint_id: str


Action = Prepare | Apply | PutBack | MakeQueue | Delete | RemoveQueue


@dataclass(frozen=True, slots=True)
class Step:
    """One step. It may be repeated whole: the action is idempotent, the facts have ids that say what they are about,
    and what is remembered is written last.

    A step without `record` changes nothing of how far the endpoint is, and ends the pass.
    """

    name: str
    action: Action | None = None
    facts: tuple[EventData, ...] = ()
    record: Rollout | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is to be done before something changes, or before the moment `until`."""

    until: datetime | None = None
