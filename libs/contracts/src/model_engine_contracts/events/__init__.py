"""Every event that services exchange, and the one function that reads them."""

from typing import Annotated, Any, Union

from pydantic import Discriminator, Tag, TypeAdapter

from model_engine_contracts.envelope import Event, EventData, new_event
from model_engine_contracts.events.api_key import ApiKeyCreated, ApiKeyRevoked, ApiKeyRotated
from model_engine_contracts.events.audit import AuditRecorded
from model_engine_contracts.events.build import BuildFailed, BuildStarted, BuildSucceeded
from model_engine_contracts.events.bundle import BundleCreated
from model_engine_contracts.events.endpoint import (
    EndpointDeleted,
    EndpointDeletionRequested,
    EndpointObserved,
    EndpointReleased,
    EndpointRequested,
    EndpointScaled,
    EndpointStatusChanged,
    EndpointUpdated,
    EndpointWorkerLost,
    EndpointWorkerReady,
    EndpointWorkersChanged,
    ObservedWorker,
)
from model_engine_contracts.events.rollout import RolloutFailed, RolloutStarted, RolloutSucceeded
from model_engine_contracts.events.scaling import ScalingDecided
from model_engine_contracts.events.subscription import (
    SubscriptionCreated,
    SubscriptionDeleted,
    SubscriptionDisabled,
    SubscriptionTested,
)
from model_engine_contracts.events.task import (
    TaskCallbackFailed,
    TaskCancelled,
    TaskCompleted,
    TaskDeadLettered,
    TaskExpired,
    TaskFailed,
    TaskOutcome,
    TaskReplayed,
    TaskStarted,
    TaskSubmitted,
)
from model_engine_contracts.events.worker import WorkerLost, WorkerReady

_ALL: tuple[type[EventData], ...] = (
    EndpointRequested,
    EndpointUpdated,
    EndpointDeletionRequested,
    EndpointStatusChanged,
    EndpointWorkersChanged,
    EndpointWorkerReady,
    EndpointWorkerLost,
    EndpointScaled,
    EndpointDeleted,
    EndpointObserved,
    EndpointReleased,
    BuildStarted,
    BuildSucceeded,
    BuildFailed,
    RolloutStarted,
    RolloutSucceeded,
    RolloutFailed,
    WorkerReady,
    WorkerLost,
    ScalingDecided,
    TaskSubmitted,
    TaskStarted,
    TaskCompleted,
    TaskExpired,
    TaskFailed,
    TaskCancelled,
    TaskDeadLettered,
    TaskReplayed,
    TaskCallbackFailed,
    BundleCreated,
    ApiKeyCreated,
    ApiKeyRotated,
    ApiKeyRevoked,
    AuditRecorded,
    SubscriptionCreated,
    SubscriptionDisabled,
    SubscriptionDeleted,
    SubscriptionTested,
)

EVENT_TYPES: dict[str, type[EventData]] = {cls.type_name(): cls for cls in _ALL}
"""The CloudEvents type of every event and the model of its data."""

HISTORY_TYPES = frozenset(name for name, cls in EVENT_TYPES.items() if cls.HISTORY)
"""The types that users may subscribe to."""


def _type_of(value: Any) -> str:
    return str(value.get("type") if isinstance(value, dict) else value.type)


_members: Any = tuple(Annotated[Event.__class_getitem__(cls), Tag(name)] for name, cls in EVENT_TYPES.items())
_union: Any = Annotated[Union.__getitem__(_members), Discriminator(_type_of)]
_ANY_EVENT: TypeAdapter[Event[Any]] = TypeAdapter(_union)


def parse_event(raw: bytes | str) -> Event[Any]:
    """Read one event from its JSON. Unknown fields are ignored, so an older reader understands a newer minor.

    Raises pydantic.ValidationError for malformed events and unknown types.
    """
    return _ANY_EVENT.validate_json(raw)


def load_event(document: dict[str, Any]) -> Event[Any]:
    """Read one event from a document of the database. Raises pydantic.ValidationError."""
    return _ANY_EVENT.validate_python(document)


__all__ = [
    "EVENT_TYPES",
    "HISTORY_TYPES",
    "ApiKeyCreated",
    "ApiKeyRevoked",
    "ApiKeyRotated",
    "AuditRecorded",
    "BuildFailed",
    "BuildStarted",
    "BuildSucceeded",
    "BundleCreated",
    "EndpointDeleted",
    "EndpointDeletionRequested",
    "EndpointObserved",
    "EndpointReleased",
    "EndpointRequested",
    "EndpointScaled",
    "EndpointStatusChanged",
    "EndpointUpdated",
    "EndpointWorkerLost",
    "EndpointWorkerReady",
    "EndpointWorkersChanged",
    "Event",
    "EventData",
    "ObservedWorker",
    "RolloutFailed",
    "RolloutStarted",
    "RolloutSucceeded",
    "ScalingDecided",
    "SubscriptionCreated",
    "SubscriptionDeleted",
    "SubscriptionDisabled",
    "SubscriptionTested",
    "TaskCallbackFailed",
    "TaskCancelled",
    "TaskCompleted",
    "TaskDeadLettered",
    "TaskExpired",
    "TaskFailed",
    "TaskOutcome",
    "TaskReplayed",
    "TaskStarted",
    "TaskSubmitted",
    "WorkerLost",
    "WorkerReady",
    "load_event",
    "new_event",
    "parse_event",
]
