"""What owners do with their async tasks beside submitting and reading them: list, cancel, and run failed ones again."""

import base64
import binascii
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import nats.errors
from pymongo.errors import ExecutionTimeout

from model_engine_chassis.publish import QueueFull
from model_engine_contracts.api.tasks import (
    AsyncTaskSummary,
    CancelAsyncTaskResponse,
    DeadLetterResponse,
    DeadLetterSummary,
    ListAsyncTasksResponse,
    ListDeadLettersResponse,
    ReplayDeadLetterResponse,
    TaskStatus,
)
from model_engine_contracts.cancellation import CancelledTask
from model_engine_contracts.subjects import task_cancelled_subject
from model_engine_gateway.clock import now
from model_engine_gateway.domain.field_rules import check_text
from model_engine_gateway.domain.invalid import Invalid
from model_engine_gateway.errors import ApiError
from model_engine_gateway.principals import Principal
from model_engine_gateway.tasks.repository import TaskRepository
from model_engine_gateway.tasks.states import OPEN_STATES, WIRE_STATUS, TaskState, states_of
from model_engine_gateway.tasks.task import FailedTask, Publication, Task, TaskSummary, cancellation, replayed
from model_engine_gateway.tasks.task_queue import TaskQueue, Unavailable

log = logging.getLogger(__name__)

CHANCES = 5
"""How often a change is tried again because the task changed meanwhile."""

FindEndpoint = Callable[[str, str], Awaitable[object]]
"""The endpoint of an id as an owner may call it. Raises ApiError 404."""


class ManagedTasks:
    """Acts for the owner of tasks. A foreign task is answered like one that does not exist."""

    def __init__(self, tasks: TaskRepository, queue: TaskQueue, nats_client: Any, find_endpoint: FindEndpoint) -> None:
        self._tasks = tasks
        self._queue = queue
        self._nats = nats_client
        self._find_endpoint = find_endpoint

    async def list(
        self, caller: Principal, endpoint_id: str | None, status: TaskStatus | None, cursor: str | None, limit: int
    ) -> ListAsyncTasksResponse:
        """A page of tasks. Raises Invalid, and ApiError 503 where finding them takes too long."""
        query = {} if status is None else {"state": {"$in": states_of(status)}}
        found, next_cursor = await self._page(caller, query, endpoint_id, cursor, limit)
        return ListAsyncTasksResponse(async_tasks=[_listed(task) for task in found], next_cursor=next_cursor)

    async def cancel(self, caller: Principal, task_id: str) -> CancelAsyncTaskResponse:
        """End an open task, whether it is queued or running. Raises ApiError 404 and 503.

        Once this returns no result can come any more. The worker that runs the task is told to stop; if it cannot be
        reached it runs to the end in vain.
        """
        check_text(task_id=task_id)
        for _ in range(CHANCES):
            state = await self._tasks.state(task_id, caller.owner)
            if state is None:
                raise _no_task()
            task = await self._tasks.open_task(task_id) if state in OPEN_STATES else None
            if task is None:
                return CancelAsyncTaskResponse(
                    task_id=task_id, cancelled=state is TaskState.CANCELLED, status=WIRE_STATUS[state]
                )
            if await self._tasks.apply([cancellation(task, "Cancelled by its owner.", now(), task.attempt)]):
                await self._withdraw(task)
                return CancelAsyncTaskResponse(task_id=task_id, cancelled=True, status=WIRE_STATUS[TaskState.CANCELLED])
        raise _changing()

    async def dead_letters(
        self, caller: Principal, endpoint_id: str | None, cursor: str | None, limit: int
    ) -> ListDeadLettersResponse:
        """A page of failed tasks. Raises as `list` does."""
        found, next_cursor = await self._page(caller, {"state": TaskState.FAILURE}, endpoint_id, cursor, limit)
        return ListDeadLettersResponse(
            dead_letters=[DeadLetterSummary(**_letter(task)) for task in found], next_cursor=next_cursor
        )

    async def dead_letter(self, caller: Principal, task_id: str) -> DeadLetterResponse:
        """A failed task with its request. Raises ApiError 404."""
        failed = await self._failed(caller, task_id)
        return DeadLetterResponse(
            **_letter(failed.summary),
            traceback=failed.traceback,
            worker=failed.worker,
            request=_without_credentials(failed.task.request),
            expires_seconds=round((failed.task.expires_at - failed.task.submitted_at).total_seconds()),
        )

    async def replay(self, caller: Principal, task_id: str) -> ReplayDeadLetterResponse:
        """Queue a failed task again. Of several that ask at once one does it; to the others there is no failed task.

        Raises ApiError 404 where the task has not failed, or its endpoint is gone.
        """
        failed = await self._failed(caller, task_id)
        await self._find_endpoint(failed.task.endpoint_id, caller.owner)
        task = replayed(failed.task, now())
        if not await self._tasks.reopen(task):
            raise _no_dead_letter(task_id)
        try:
            sequence = await self._queue.publish(task)
            await self._tasks.record_publications(
                [Publication(task.id, task.attempt, sequence)], await self._queue.stream()
            )
        except (QueueFull, *Unavailable) as error:
            log.warning(
                "a replayed task is not queued yet, the sweep will do it: %r", error, extra={"task_id": task.id}
            )
        return ReplayDeadLetterResponse(task_id=task.id, attempt=task.attempt)

    async def _withdraw(self, task: Task) -> None:
        """Take the message of a cancelled task away, and stop whoever works on it.

        Where its place is not recorded yet, publishing it again tells: the queue recognises it.
        """
        try:
            if task.sequence is None:
                await self._queue.remove_sequence(await self._queue.publish(task))
            else:
                await self._queue.remove(task)
        except (QueueFull, *Unavailable) as error:
            log.warning("a cancelled task is still queued, it runs in vain: %r", error, extra={"task_id": task.id})
        notice = CancelledTask(task_id=task.id, attempt=task.attempt)
        try:
            await self._nats.publish(task_cancelled_subject(task.endpoint_id), notice.model_dump_json().encode())
        except nats.errors.Error as error:
            log.warning("a worker was not told of a cancellation: %r", error, extra={"task_id": task.id})

    async def _failed(self, caller: Principal, task_id: str) -> FailedTask:
        check_text(task_id=task_id)
        failed = await self._tasks.failed(task_id, caller.owner)
        if failed is None:
            raise _no_dead_letter(task_id)
        return failed

    async def _page(
        self, caller: Principal, query: dict[str, Any], endpoint_id: str | None, cursor: str | None, limit: int
    ) -> tuple[Sequence[TaskSummary], str | None]:
        query = {"owner": caller.owner, **query}
        if endpoint_id is not None:
            check_text(model_endpoint_id=endpoint_id)
            query["endpoint_id"] = endpoint_id
        before = None if cursor is None else read_cursor(cursor)
        try:
            found = await self._tasks.page(query, before, limit + 1)
        except ExecutionTimeout as error:
            text = "Too many tasks had to be searched. Ask without a filter, or for fewer."
            raise ApiError(503, text, "search_too_long", {"retry-after": "1"}) from error
        if len(found) <= limit:
            return found, None
        return found[:limit], cursor_after(found[limit - 1])


def cursor_after(task: TaskSummary) -> str:
    """What asks for the tasks behind this one."""
    milliseconds = round(task.submitted_at.timestamp() * 1000)
    return base64.urlsafe_b64encode(f"{milliseconds}:{task.id}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[datetime, str]:
    """When the task of a cursor was submitted, and its id. Raises Invalid."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        milliseconds, colon, task_id = text.partition(":")
        if not colon or "\0" in task_id:
            raise ValueError(cursor)
        return datetime.fromtimestamp(int(milliseconds) / 1000, UTC), task_id
    except (ValueError, OverflowError, OSError, binascii.Error) as error:
        raise Invalid("cursor: use the `next_cursor` of an earlier answer.", "invalid_cursor") from error


def _listed(task: TaskSummary) -> AsyncTaskSummary:
    return AsyncTaskSummary(
        task_id=task.id,
        endpoint_id=task.endpoint_id,
        status=WIRE_STATUS[task.state],
        state=task.state.value,
        attempt=task.attempt,
        submitted_at=task.submitted_at,
        finished_at=task.finished_at,
        error=task.error,
    )


def _letter(task: TaskSummary) -> dict[str, Any]:
    return {
        "task_id": task.id,
        "endpoint_id": task.endpoint_id,
        "attempt": task.attempt,
        "deliveries": task.deliveries,
        "submitted_at": task.submitted_at,
        "failed_at": task.finished_at or task.submitted_at,
        "error": task.error or "The task failed.",
    }


def _without_credentials(request: str) -> str:
    """A request that names callback credentials is written anew without them; every other one stays as it was sent."""
    if "callback_auth" not in request:
        return request
    try:
        fields = json.loads(request)
    except (ValueError, RecursionError):
        return "{}"
    return json.dumps(fields | {"callback_auth": None})


def _no_task() -> ApiError:
    return ApiError(404, "The specified task could not be found.", "task_not_found")


def _no_dead_letter(task_id: str) -> ApiError:
    return ApiError(404, f"There is no failed task {task_id}.", "dead_letter_not_found")


def _changing() -> ApiError:
    return ApiError(503, "The task changes all the time. Please retry.", "task_changing", {"retry-after": "1"})
