"""Inference tasks on the wire."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field

from model_engine_contracts.api.common import CallbackAuth


class TaskStatus(StrEnum):
    """The states of a task that clients know."""

    PENDING = "PENDING"
    STARTED = "STARTED"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    UNDEFINED = "UNDEFINED"


class EndpointPredictV1Request(BaseModel):
    """The input of one prediction; all fields are optional, the model decides what it needs."""

    url: str | None = None
    args: Any = None
    cloudpickle: str | None = None
    callback_url: str | None = None
    callback_auth: CallbackAuth | None = None
    return_pickled: bool = False
    destination_path: str | None = None


class SyncEndpointPredictV1Request(EndpointPredictV1Request):
    """The same with the caller's patience: `timeout_seconds` is a real deadline where it is sent."""

    timeout_seconds: float | None = Field(default=None, gt=0)
    num_retries: int | None = Field(default=None, ge=0)


class SyncEndpointPredictV1Response(BaseModel):
    """What the worker answered. `status_code` is the model server's."""

    status: TaskStatus
    result: Any = None
    traceback: str | None = None
    status_code: int | None = None


class CreateAsyncTaskV1Response(BaseModel):
    """The task is durable under this id."""

    task_id: str


class GetAsyncTaskV1Response(BaseModel):
    """Where a task stands, and its result."""

    task_id: str
    status: TaskStatus
    result: Any = None
    traceback: str | None = None
    status_code: int | None = None


class AsyncTaskSummary(BaseModel):
    """A task as lists show it.

    `state` is finer than `status`: QUEUED, STARTED, SUCCESS, FAILURE, EXPIRED (not run in time), CANCELLED, or REJECTED
    (the queue was full). `attempt` counts how often it was queued.
    """

    task_id: str
    endpoint_id: str
    status: TaskStatus
    state: str
    attempt: int
    submitted_at: datetime
    finished_at: datetime | None
    error: str | None


class ListAsyncTasksResponse(BaseModel):
    """Tasks of the caller, those submitted last first. `next_cursor` asks for the next page; null: there is none."""

    async_tasks: list[AsyncTaskSummary]
    next_cursor: str | None


class CancelAsyncTaskResponse(BaseModel):
    """`cancelled` is false for a task that had ended before; `status` is how it stands."""

    task_id: str
    cancelled: bool
    status: TaskStatus


class DeadLetterSummary(BaseModel):
    """A task that failed, and may be run again: its request is kept. `attempt` counts how often it was queued.

    `deliveries` is how often a worker got it within the last attempt, null where it is not known.
    """

    task_id: str
    endpoint_id: str
    attempt: int
    deliveries: int | None
    submitted_at: datetime
    failed_at: datetime
    error: str


class DeadLetterResponse(DeadLetterSummary):
    """The same with all that is known. `request` is JSON text as it was sent, but for its callback credentials."""

    traceback: str | None
    worker: str | None
    request: str
    expires_seconds: int


class ListDeadLettersResponse(BaseModel):
    """Failed tasks of the caller, those submitted last first. `next_cursor` as in a list of tasks."""

    dead_letters: list[DeadLetterSummary]
    next_cursor: str | None


class ReplayDeadLetterResponse(BaseModel):
    """The task is queued again under its id, as this attempt."""

    task_id: str
    attempt: int
