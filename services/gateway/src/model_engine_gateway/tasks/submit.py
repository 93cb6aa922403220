"""POST /v1/async-tasks: the task is durable before the answer says so, and queued right after."""

import json
import logging
from collections.abc import Sequence
from datetime import timedelta

from pymongo.errors import PyMongoError

from model_engine_chassis import trace
from model_engine_chassis.asgi_server import Receive, Scope, Send
from model_engine_chassis.publish import QueueFull
from model_engine_contracts.endpoint_states import EndpointType
from model_engine_contracts.ids import new_task_id
from model_engine_gateway.clock import now
from model_engine_gateway.errors import ApiError
from model_engine_gateway.hooks.plan import plan_hooks
from model_engine_gateway.inference.asgi import respond
from model_engine_gateway.inference.directory import EndpointInfo
from model_engine_gateway.inference.predict_request import ASYNC, PredictRequest
from model_engine_gateway.inference.routing import Intake, require_type
from model_engine_gateway.inference.wakes import Wakes
from model_engine_gateway.tasks import metrics
from model_engine_gateway.tasks.microbatch import MicroBatcher
from model_engine_gateway.tasks.repository import TaskRepository
from model_engine_gateway.tasks.states import TaskState
from model_engine_gateway.tasks.task import DEFAULT_EXPIRES_SECONDS, DEFAULT_RUN_SECONDS, Finish, Publication, Task
from model_engine_gateway.tasks.task_queue import TaskQueue, Unavailable

log = logging.getLogger(__name__)


class SubmitTask:
    """The handler of the route."""

    def __init__(
        self, intake: Intake, tasks: TaskRepository, queue: TaskQueue, wakes: Wakes, max_task_bytes: int
    ) -> None:
        self._intake = intake
        self._tasks = tasks
        self._queue = queue
        self._wakes = wakes
        self._max_task_bytes = max_task_bytes
        # An idle gateway writes at once; what comes while two writes are under way shares the next (docs/adr/0009).
        self._inserts: MicroBatcher[Task] = MicroBatcher(tasks.insert, delay=0.0, max_flushes=2)
        self._publications: MicroBatcher[Publication] = MicroBatcher(self._record)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Serve one request; returns the HTTP status. Raises ApiError and ClientGone."""
        limit = min(self._max_task_bytes, self._queue.max_request_bytes)
        principal, request, endpoint = await self._intake.read(scope, receive, ASYNC, limit)
        require_type(endpoint, (EndpointType.ASYNC,), "is not an async endpoint")
        task = new_task(principal.owner, request, endpoint)
        try:
            await self._inserts.add(task)
        except PyMongoError as error:
            raise ApiError(
                503, "The task could not be stored. Please retry.", "database_unavailable", {"retry-after": "1"}
            ) from error
        await self._publish(task)
        await self._wakes.wake_for_task(endpoint.id)
        await respond(send, json.dumps({"task_id": task.id}, separators=(",", ":")).encode())
        return 200

    async def close(self) -> None:
        """Write what is still in memory."""
        await self._inserts.close()
        await self._publications.close()

    async def _publish(self, task: Task) -> None:
        """Queue the task. It is durable: whatever goes wrong but a full queue, the sweep makes good."""
        try:
            sequence = await self._queue.publish(task)
        except QueueFull as error:
            await self._tasks.apply([Finish(task.id, TaskState.REJECTED, now())])
            metrics.SUBMITTED.labels("rejected").inc()
            text = "The queue of this endpoint is full. Please retry later."
            raise ApiError(429, text, "task_queue_full", {"retry-after": "5"}) from error
        except Unavailable as error:
            metrics.SUBMITTED.labels("deferred").inc()
            log.warning("a task is not queued yet, the sweep will do it: %r", error, extra={"task_id": task.id})
            return
        metrics.SUBMITTED.labels("queued").inc()
        self._publications.add_nowait(Publication(task.id, task.attempt, sequence))

    async def _record(self, published: Sequence[Publication]) -> None:
        """Without this record the sweep publishes once more, which the queue recognises."""
        await self._tasks.record_publications(published, await self._queue.stream())


def new_task(owner: str, request: PredictRequest, endpoint: EndpointInfo) -> Task:
    """A task from its request; how long it may wait and run, and what follows, is its endpoint's to say."""
    submitted_at = now()
    context = trace.current()
    hooks = None
    if endpoint.hooks is not None:
        hooks = plan_hooks(endpoint.hooks, owner, request.body, request.callback_url, request.callback_auth)
    return Task(
        id=new_task_id(),
        endpoint_id=endpoint.id,
        attempt=1,
        sequence=None,
        owner=owner,
        request=request.body.decode(),
        destination_path=request.destination_path,
        submitted_at=submitted_at,
        expires_at=submitted_at + timedelta(seconds=endpoint.task_expires_seconds or DEFAULT_EXPIRES_SECONDS),
        timeout_seconds=endpoint.queue_message_timeout_seconds or DEFAULT_RUN_SECONDS,
        traceparent=context.traceparent if context else None,
        hooks_json=hooks.model_dump_json() if hooks and hooks.names else None,
    )
