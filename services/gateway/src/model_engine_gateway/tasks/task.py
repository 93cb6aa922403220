"""One async task: how it begins, what may end it, and how it goes to a worker. Pure data."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from model_engine_contracts.envelope import Event, new_event
from model_engine_contracts.events import (
    TaskCancelled,
    TaskCompleted,
    TaskDeadLettered,
    TaskExpired,
    TaskFailed,
    TaskOutcome,
    TaskStarted,
    TaskSubmitted,
)
from model_engine_contracts.events.task import StoredResult
from model_engine_gateway.events import SOURCE
from model_engine_gateway.tasks.states import TaskState

DEFAULT_EXPIRES_SECONDS = 86_400
"""How long a task waits for a worker where its endpoint does not say."""

DEFAULT_RUN_SECONDS = 86_400.0
"""The deadline of one run where the endpoint's `queue_message_timeout_seconds` does not say: the longest that existing
workers let a task run. It is no delay in recovery: the task of a dead worker comes again after the queue's ack wait."""

EXPIRY_GRACE = timedelta(seconds=5)
"""A task that a worker took just before its expiry is reported as started within this time."""


@dataclass(frozen=True, slots=True)
class TaskRef:
    """Which task, and where its message is. `attempt` counts publications, `sequence` is None until one is known."""

    id: str
    endpoint_id: str
    attempt: int
    sequence: int | None


@dataclass(frozen=True, slots=True)
class Task(TaskRef):
    """A task as it is queued. `request` is the JSON text of the client's envelope, `hooks_json` of its PlannedHooks."""

    owner: str
    request: str
    destination_path: str | None
    submitted_at: datetime
    expires_at: datetime
    timeout_seconds: float
    traceparent: str | None = None
    hooks_json: str | None = None


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """A task as lists show it."""

    id: str
    endpoint_id: str
    state: TaskState
    attempt: int
    submitted_at: datetime
    finished_at: datetime | None
    error: str | None
    deliveries: int | None


@dataclass(frozen=True, slots=True)
class FailedTask:
    """A task that failed, with what it takes to run it again."""

    task: Task
    summary: TaskSummary
    traceback: str | None
    worker: str | None


class Publication(NamedTuple):
    """The message of an attempt is at this sequence of the queue."""

    task_id: str
    attempt: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Start:
    """A worker runs this attempt."""

    task_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of a task: it takes effect if the task is open, and where `attempt` is given, in that attempt."""

    task_id: str
    state: TaskState
    at: datetime
    attempt: int | None = None
    result: str | None = None
    stored_result: StoredResult | None = None
    status_code: int | None = None
    error: str | None = None
    traceback: str | None = None
    worker: str | None = None
    deliveries: int | None = None
    history: TaskFailed | TaskCancelled | TaskDeadLettered | None = None


def submission(task: Task, upload_url: str | None = None) -> Event[TaskSubmitted]:
    """The message for a worker. `upload_url` is where it may send a large result."""
    return new_event(
        TaskSubmitted(
            task_id=task.id,
            endpoint_id=task.endpoint_id,
            owner=task.owner,
            attempt=task.attempt,
            request=task.request,
            destination_path=task.destination_path,
            submitted_at=task.submitted_at,
            expires_at=task.expires_at,
            timeout_seconds=task.timeout_seconds,
            upload_url=upload_url,
        ),
        source=SOURCE,
        owner=task.owner,
        traceparent=task.traceparent,
    )


def message_ttl(task: Task, now: datetime) -> int:
    """Seconds that the message may stay in the queue: until the expiry, and long enough for a run begun before it."""
    return int((task.expires_at - now).total_seconds() + task.timeout_seconds) + 1


def effect_of(report: TaskStarted | TaskCompleted | TaskExpired, now: datetime) -> Start | Finish:
    """What a worker's report means for the task.

    The first result wins. An attempt that the sweep has given up may still succeed, but it cannot fail the task, since
    a newer attempt is under way.
    """
    match report:
        case TaskStarted():
            return Start(report.task_id, report.attempt)
        case TaskExpired():
            return Finish(report.task_id, TaskState.EXPIRED, now)
        case TaskCompleted(outcome=TaskOutcome.SUCCESS):
            return Finish(
                report.task_id,
                TaskState.SUCCESS,
                report.finished_at,
                result=report.result,
                stored_result=report.stored_result,
                status_code=report.status_code,
                worker=report.worker_id,
            )
    error = report.error or "The task failed."
    return Finish(
        report.task_id,
        TaskState.FAILURE,
        report.finished_at,
        attempt=report.attempt,
        error=error,
        traceback=report.traceback or error,
        worker=report.worker_id,
        deliveries=report.delivery,
        history=TaskFailed(
            task_id=report.task_id, endpoint_id=report.endpoint_id, attempt=report.attempt, error=error[:1000]
        ),
    )


def dead_letter(task: TaskRef, deliveries: int, reason: str | None, now: datetime) -> Finish:
    """The end of a task that was delivered as often as allowed without a result, or that no worker could read."""
    why = reason or "no worker reported a result"
    error = f"The task was given up after {deliveries} deliveries: {why}."
    return Finish(
        task.id,
        TaskState.FAILURE,
        now,
        attempt=task.attempt,
        error=error,
        traceback=error,
        deliveries=deliveries,
        history=TaskDeadLettered(
            task_id=task.id,
            endpoint_id=task.endpoint_id,
            attempt=task.attempt,
            deliveries=max(1, deliveries),
            last_error=reason,
        ),
    )


def cancellation(task: TaskRef, cause: str, now: datetime, attempt: int | None = None) -> Finish:
    """The end of an open task that its owner does not want any more, or whose endpoint goes away."""
    event = TaskCancelled(task_id=task.id, endpoint_id=task.endpoint_id, attempt=task.attempt, cause=cause)
    return Finish(task.id, TaskState.CANCELLED, now, attempt=attempt, error=cause, history=event)


def replayed(task: Task, now: datetime) -> Task:
    """A failed task as it is queued again: a new attempt, that may wait as long as the first one."""
    return replace(
        task, attempt=task.attempt + 1, sequence=None, expires_at=now + (task.expires_at - task.submitted_at)
    )
