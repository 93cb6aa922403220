"""The routes that manage async tasks; submitting and reading them is served beside FastAPI."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from model_engine_contracts.api.tasks import (
    CancelAsyncTaskResponse,
    DeadLetterResponse,
    ListAsyncTasksResponse,
    ListDeadLettersResponse,
    ReplayDeadLetterResponse,
    TaskStatus,
)
from model_engine_gateway.control.routing import Caller, answer
from model_engine_gateway.tasks.manage import ManagedTasks

EndpointId = Annotated[str | None, Query(description="only those of this endpoint")]
Limit = Annotated[int, Query(ge=1, le=1000, description="how many at most")]
Cursor = Annotated[str | None, Query(max_length=400, description="`next_cursor` of the page before")]


def add_task_routes(router: APIRouter, tasks: ManagedTasks) -> None:
    """List and cancel tasks; list, get and replay dead letters."""

    @router.get("/v1/async-tasks", response_model=ListAsyncTasksResponse)
    async def list_async_inference_tasks(
        caller: Caller,
        model_endpoint_id: EndpointId = None,
        status: TaskStatus | None = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Response:
        """Lists the caller's tasks, those submitted last first."""
        return answer(await tasks.list(caller, model_endpoint_id, status, cursor, limit))

    @router.post("/v1/async-tasks/{task_id}/cancel", response_model=CancelAsyncTaskResponse)
    async def cancel_async_inference_task(task_id: str, caller: Caller) -> Response:
        """Cancels a task, whether it is queued or running; one that has ended stays as it is."""
        return answer(await tasks.cancel(caller, task_id))

    @router.get("/v1/dead-letters", response_model=ListDeadLettersResponse)
    async def list_dead_letters(
        caller: Caller, model_endpoint_id: EndpointId = None, limit: Limit = 100, cursor: Cursor = None
    ) -> Response:
        """Lists the caller's failed tasks, those submitted last first."""
        return answer(await tasks.dead_letters(caller, model_endpoint_id, cursor, limit))

    @router.get("/v1/dead-letters/{task_id}", response_model=DeadLetterResponse)
    async def get_dead_letter(task_id: str, caller: Caller) -> Response:
        """Gets a failed task: its request, how often it was tried, and what went wrong last."""
        return answer(await tasks.dead_letter(caller, task_id))

    @router.post("/v1/dead-letters/{task_id}/replay", response_model=ReplayDeadLetterResponse)
    async def replay_dead_letter(task_id: str, caller: Caller) -> Response:
        """Queues a failed task again, under its id and with the request it had."""
        return answer(await tasks.replay(caller, task_id))
