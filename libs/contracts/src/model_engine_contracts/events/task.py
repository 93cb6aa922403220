"""Async tasks: the queued task itself, what a worker reports of it, and the few that enter the history."""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from model_engine_contracts.envelope import EventData


class TaskOutcome(StrEnum):
    """How a run ended. An HTTP error of the model server is a SUCCESS with that status code."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"


class TaskSubmitted(EventData):
    """A task on its way to a worker: the only event of the stream TASKS, published to the endpoint's queue.

    `request` is the JSON text of the client's envelope, untouched. `attempt` counts publications (a redelivery within
    one publication keeps it). `timeout_seconds` is the deadline of one run. `upload_url` is a signed address to which
    one result that is too large for a message can be sent.
    """

    AGGREGATE: ClassVar[str] = "task"
    VERB: ClassVar[str] = "submitted"
    ENTITY: ClassVar[str] = "endpoint_id"

    task_id: str
    endpoint_id: str
    owner: str
    attempt: int = Field(ge=1)
    request: str
    destination_path: str | None = None
    submitted_at: datetime
    expires_at: datetime
    timeout_seconds: float = Field(gt=0)
    upload_url: str | None = None


class StoredResult(BaseModel):
    """A result that was sent to the platform's storage; `size` in bytes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    sha256: str
    size: int = Field(ge=0)


class _TaskReport(EventData):
    AGGREGATE: ClassVar[str] = "task"
    ENTITY: ClassVar[str] = "endpoint_id"

    task_id: str
    endpoint_id: str
    attempt: int = Field(ge=1)
    delivery: int = Field(ge=1)
    worker_id: str


class TaskStarted(_TaskReport):
    """A worker is running the task. Published only for runs that are not over at once."""

    VERB: ClassVar[str] = "started"


class TaskCompleted(_TaskReport):
    """The run ended. `result` is JSON text (the worker's answer with `status_code` taken out), null on FAILURE.

    A result that no message can hold was sent to the task's `upload_url` instead, and `stored_result` says so.
    """

    VERB: ClassVar[str] = "completed"

    outcome: TaskOutcome
    result: str | None = None
    stored_result: StoredResult | None = None
    status_code: int | None = None
    error: str | None = None
    traceback: str | None = None
    started_at: datetime
    finished_at: datetime


class TaskExpired(_TaskReport):
    """The task reached a worker after its expiry and was not run."""

    VERB: ClassVar[str] = "expired"


class _TaskHistory(EventData):
    AGGREGATE: ClassVar[str] = "task"
    ENTITY: ClassVar[str] = "task_id"
    HISTORY: ClassVar[bool] = True

    task_id: str
    endpoint_id: str
    attempt: int = Field(ge=1)


class TaskFailed(_TaskHistory):
    """A task ended in FAILURE."""

    VERB: ClassVar[str] = "failed"

    error: str


class TaskCancelled(_TaskHistory):
    """A task was cancelled, by its caller or because its endpoint was deleted."""

    VERB: ClassVar[str] = "cancelled"

    cause: str


class TaskDeadLettered(_TaskHistory):
    """A task was delivered as often as allowed without a result and is kept as a dead letter."""

    VERB: ClassVar[str] = "dead-lettered"

    deliveries: int = Field(ge=1)
    last_error: str | None = None


class TaskReplayed(_TaskHistory):
    """A failed task was queued again by its owner, as this attempt."""

    VERB: ClassVar[str] = "replayed"


class TaskCallbackFailed(EventData):
    """The callback about a call was not delivered, and is not tried again.

    `task_id` is null for a sync call; `delivery_id` is the `webhook-id` that the receiver would have seen.
    """

    AGGREGATE: ClassVar[str] = "task"
    VERB: ClassVar[str] = "callback-failed"
    ENTITY: ClassVar[str] = "delivery_id"
    HISTORY: ClassVar[bool] = True

    delivery_id: str
    task_id: str | None = None
    endpoint_id: str
    attempts: int = Field(ge=1)
    error: str
