"""GET /v1/async-tasks/{id}: where a task stands. A foreign task reads exactly like an unknown one."""

import json
from typing import Any

from pymongo.errors import PyMongoError

from model_engine_chassis.asgi_server import Receive, Scope, Send
from model_engine_contracts.api.tasks import TaskStatus
from model_engine_gateway.errors import ApiError
from model_engine_gateway.inference.asgi import respond, worker_header
from model_engine_gateway.inference.routing import Intake
from model_engine_gateway.tasks.repository import TaskRepository
from model_engine_gateway.tasks.states import WIRE_STATUS, TaskState

MAX_ID = 200
"""Longer ids are unknown without a look."""


class ReadTask:
    """The handler of the route."""

    def __init__(self, intake: Intake, tasks: TaskRepository) -> None:
        self._intake = intake
        self._tasks = tasks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Serve one request; returns the HTTP status. Raises ApiError."""
        principal = await self._intake.admit(scope)
        task_id = scope["path"].rpartition("/")[2]
        try:
            found = await self._tasks.find(task_id, principal.owner) if len(task_id) <= MAX_ID else None
        except PyMongoError as error:
            raise ApiError(
                503, "Tasks cannot be read at the moment. Please retry.", "database_unavailable", {"retry-after": "1"}
            ) from error
        worker = (found or {}).get("worker")
        await respond(send, task_answer(task_id, found), headers=(worker_header(worker),) if worker else ())
        return 200


def task_answer(task_id: str, found: dict[str, Any] | None) -> bytes:
    """The JSON of the answer. A result is JSON text already and is spliced in."""
    state = TaskState(found["state"]) if found else TaskState.QUEUED
    status = WIRE_STATUS[state]
    result, traceback, status_code = b"null", None, None
    if found and status is TaskStatus.SUCCESS:
        result = (found.get("result") or "null").encode("utf-8", "surrogatepass")
        status_code = found.get("status_code")
    elif found and status is TaskStatus.FAILURE:
        result = json.dumps(found.get("error")).encode()
        traceback = found.get("traceback")
    return b'{"task_id":%b,"status":"%b","result":%b,"traceback":%b,"status_code":%b}' % (
        json.dumps(task_id).encode(),
        status.value.encode(),
        result,
        json.dumps(traceback).encode(),
        json.dumps(status_code).encode(),
    )
