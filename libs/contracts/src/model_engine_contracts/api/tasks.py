"""Inference tasks on the wire."""

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
