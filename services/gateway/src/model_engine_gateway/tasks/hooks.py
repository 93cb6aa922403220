"""Runs the hooks of tasks after their results are stored, each at least once: a gateway that dies is taken over from.

Every gateway takes part. What one owner's receivers hold up does not hold up the others.
"""

import asyncio
import logging
from collections import Counter
from datetime import timedelta

from pydantic import ValidationError
from pymongo.errors import PyMongoError

from model_engine_contracts.events import TaskCallbackFailed
from model_engine_gateway.clock import now
from model_engine_gateway.errors import ApiError
from model_engine_gateway.events import history_event
from model_engine_gateway.hooks.bodies import callback_body, failure_body
from model_engine_gateway.hooks.plan import CALLBACK
from model_engine_gateway.hooks.runner import CALLBACKS, HookRunner, pause_after
from model_engine_gateway.tasks.hook_queue import DueHooks, HookQueue
from model_engine_gateway.tasks.states import TaskState
from model_engine_gateway.tasks.stored_results import StoredResults

log = logging.getLogger(__name__)

AT_ONCE = 64
AT_ONCE_OF_OWNER = 8
LOOK_SECONDS = 1.0
GATHER_SECONDS = 0.02


class TaskHooks:
    """Runs what is due until stopped."""

    def __init__(self, queue: HookQueue, runner: HookRunner, results: StoredResults) -> None:
        self._queue = queue
        self._runner = runner
        self._results = results
        self._wake = asyncio.Event()
        self._running: Counter[str] = Counter()

    def poke(self) -> None:
        """A task has just ended: look soon."""
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, then finish what runs. Trouble of the database is logged, and tried again."""
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                try:
                    await self._start_due(group)
                except PyMongoError as error:
                    log.warning("hooks of tasks could not be read: %r", error)
                await self._wait(stop)

    async def _start_due(self, group: asyncio.TaskGroup) -> None:
        while self._running.total() < AT_ONCE:
            busy = [owner for owner, count in self._running.items() if count >= AT_ONCE_OF_OWNER]
            try:
                due = await self._queue.take(now(), busy)
            except ValidationError:
                log.exception("hooks of a task are not readable: upgrade this service, or mend the document")
                continue
            if due is None:
                return
            self._running[due.owner] += 1
            group.create_task(self._run_one(due))

    async def _wait(self, stop: asyncio.Event) -> None:
        """A poke, or a second; and then a moment more, so that many tasks are one look."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return
        if not stop.is_set():
            await asyncio.sleep(GATHER_SECONDS)
        self._wake.clear()

    async def _run_one(self, due: DueHooks) -> None:
        try:
            await self._run_hooks(due)
        except PyMongoError as error:
            log.warning("hooks of a task will be tried again: %r", error, extra={"task_id": due.task_id})
        except Exception:
            log.exception("hooks of a task failed, they will be tried again", extra={"task_id": due.task_id})
        finally:
            self._running -= Counter({due.owner: 1})
            self._wake.set()

    async def _run_hooks(self, due: DueHooks) -> None:
        body = await self._body(due)
        if not due.is_recorded:
            self._runner.record(due.hooks, due.task_id, body)
            if CALLBACK in due.hooks.names:
                await self._queue.recorded(due)
        if due.hooks.callback is None:
            await self._queue.finish(due)
            return
        delivery_id = f"{due.task_id}-{due.attempt}"
        attempt = await self._runner.call_back(due.hooks.callback, delivery_id, body)
        if attempt.error is None:
            CALLBACKS.labels("delivered").inc()
            await self._queue.finish(due)
            return
        attempts = due.attempts + 1
        pause = pause_after(attempt, attempts)
        if pause is not None:
            await self._queue.retry(due, attempts, now() + timedelta(seconds=pause))
            asyncio.get_running_loop().call_later(pause, self.poke)
            return
        CALLBACKS.labels("failed").inc()
        failed = TaskCallbackFailed(
            delivery_id=delivery_id,
            task_id=due.task_id,
            endpoint_id=due.hooks.endpoint.endpoint_id,
            attempts=attempts,
            error=attempt.error,
        )
        await self._queue.finish(due, history_event(failed, due.owner))

    async def _body(self, due: DueHooks) -> bytes:
        fields = due.fields
        if due.state is TaskState.FAILURE:
            return failure_body(fields.get("error"), fields.get("traceback"), due.task_id)
        try:
            stored = await self._results.of_task(fields)
        except ApiError as error:
            stored = failure_body(str(error.detail), None, due.task_id)
        text = (fields.get("result") or "null").encode("utf-8", "surrogatepass") if stored is None else stored
        return callback_body(text, due.task_id, fields.get("status_code"))
