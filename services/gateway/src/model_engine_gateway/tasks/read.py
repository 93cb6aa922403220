"""GET /v1/async-tasks/{id}: where a task stands. A foreign task reads exactly like an unknown one.

`?wait=N`, or the header `Prefer: wait=N` (RFC 7240), lets the answer wait until the task has ended, N seconds at most.
"""

import asyncio
import json
import math
import re
from typing import Any
from urllib.parse import parse_qs

from pymongo.errors import PyMongoError

from model_engine_chassis.asgi_server import Receive, Scope, Send
from model_engine_contracts.api.tasks import TaskStatus
from model_engine_gateway.errors import ApiError
from model_engine_gateway.inference.asgi import headers_of, respond, until_client_gone, worker_header
from model_engine_gateway.inference.routing import Intake
from model_engine_gateway.tasks.repository import TaskRepository
from model_engine_gateway.tasks.states import OPEN_STATES, WIRE_STATUS, TaskState
from model_engine_gateway.tasks.stored_results import StoredResults
from model_engine_gateway.tasks.waiting import Waiting

MAX_ID = 200
"""Longer ids are unknown without a look."""

MAX_WAIT_SECONDS = 60.0
"""Who asks for more waits this long: what is between client and gateway may cut a longer silence."""

_PREFER_WAIT = re.compile(rb'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:$|[,;])', re.IGNORECASE)


class ReadTask:
    """The handler of the route."""

    def __init__(self, intake: Intake, tasks: TaskRepository, results: StoredResults, waiting: Waiting) -> None:
        self._intake = intake
        self._tasks = tasks
        self._results = results
        self._waiting = waiting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Serve one request; returns the HTTP status. Raises ApiError and ClientGone."""
        principal = await self._intake.admit(scope)
        task_id = scope["path"].rpartition("/")[2]
        seconds, applied = wait_of(scope["query_string"], headers_of(scope).get(b"prefer"))
        try:
            if seconds:
                with until_client_gone(receive):
                    found = await self._wait(task_id, principal.owner, seconds)
            else:
                found = await self._find(task_id, principal.owner)
            stored = await self._results.of_task(found)
        except PyMongoError as error:
            raise ApiError(
                503, "Tasks cannot be read at the moment. Please retry.", "database_unavailable", {"retry-after": "1"}
            ) from error
        worker = (found or {}).get("worker")
        headers = ((worker_header(worker),) if worker else ()) + applied
        await respond(send, task_answer(task_id, found, stored), headers=headers)
        return 200

    async def _find(self, task_id: str, owner: str) -> dict[str, Any] | None:
        return await self._tasks.find(task_id, owner) if len(task_id) <= MAX_ID else None

    async def _wait(self, task_id: str, owner: str, seconds: float) -> dict[str, Any] | None:
        """The task once it has ended, or as it is after so many seconds. An unknown one is not waited for."""
        until = asyncio.get_running_loop().time() + seconds
        with self._waiting.watch(task_id) as woken:
            while True:
                found = await self._find(task_id, owner)
                if found is None or found["state"] not in OPEN_STATES or self._waiting.closed:
                    return found
                try:
                    async with asyncio.timeout_at(until):
                        await woken.wait()
                except TimeoutError:
                    return found
                woken.clear()


def wait_of(query: bytes, prefer: bytes | None) -> tuple[float, tuple[tuple[bytes, bytes], ...]]:
    """How many seconds a request wants to wait, and the headers that say a preference was heard.

    Raises ApiError 422 for a query that is no number of seconds; such a preference is ignored, as RFC 7240 says.
    """
    if query and (given := parse_qs(query.decode("latin-1"), keep_blank_values=True).get("wait")):
        return min(_seconds(given[-1]), MAX_WAIT_SECONDS), ()
    if prefer is None or (match := _PREFER_WAIT.search(prefer)) is None:
        return 0.0, ()
    seconds = min(float(match[1]), MAX_WAIT_SECONDS)
    return seconds, ((b"preference-applied", b"wait=%d" % seconds),)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        message = "Input should be a number of seconds, zero or more"
        problem = {"type": "number_parsing", "loc": ["query", "wait"], "msg": message, "input": text}
        raise ApiError(422, [problem], "invalid_request")
    return seconds


def task_answer(task_id: str, found: dict[str, Any] | None, stored: bytes | None = None) -> bytes:
    """The JSON of the answer. A result is JSON text already and is spliced in; `stored` is one read from storage."""
    state = TaskState(found["state"]) if found else TaskState.QUEUED
    status = WIRE_STATUS[state]
    result, traceback, status_code = b"null", None, None
    if found and status is TaskStatus.SUCCESS:
        result = (found.get("result") or "null").encode("utf-8", "surrogatepass") if stored is None else stored
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
