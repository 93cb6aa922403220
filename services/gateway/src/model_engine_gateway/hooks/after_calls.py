"""Hooks after sync calls: in the memory of this process, within bounds. What is over them is dropped and counted.

A receiver that is slow holds up the callbacks of its own owner, not those of others.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

from pymongo.errors import PyMongoError

from model_engine_contracts.events import Event, TaskCallbackFailed
from model_engine_contracts.ids import new_id
from model_engine_gateway.events import history_event
from model_engine_gateway.hooks.bodies import callback_body
from model_engine_gateway.hooks.plan import PlannedHooks
from model_engine_gateway.hooks.runner import CALLBACKS, HookRunner, pause_after

log = logging.getLogger(__name__)

MAX_WAITING = 1000
MAX_WAITING_OF_OWNER = 200
MAX_BYTES = 64 << 20
POSTS_OF_OWNER = 8
CLOSE_SECONDS = 3.0

RecordEvent = Callable[[Event[TaskCallbackFailed]], Awaitable[None]]


class CallHooks:
    """Runs the hooks of sync calls after they were answered."""

    def __init__(self, runner: HookRunner, record_event: RecordEvent) -> None:
        self._runner = runner
        self._record_event = record_event
        self._jobs: set[asyncio.Task[None]] = set()
        self._waiting: Counter[str] = Counter()
        self._bytes = 0
        self._turns: dict[str, asyncio.Semaphore] = {}

    def after(self, hooks: PlannedHooks, answer: bytes) -> None:
        """Run the hooks of a call that was answered with this JSON; returns at once."""
        body = callback_body(answer, None)
        self._runner.record(hooks, None, body)
        if hooks.callback is None:
            return
        receiver = hooks.callback.signer
        if (
            len(self._jobs) >= MAX_WAITING
            or self._waiting[receiver] >= MAX_WAITING_OF_OWNER
            or self._bytes + len(body) > MAX_BYTES
        ):
            CALLBACKS.labels("dropped").inc()
            log.warning("a callback is dropped: too many wait", extra={"endpoint_id": hooks.endpoint.endpoint_id})
            return
        self._waiting[receiver] += 1
        self._bytes += len(body)
        job = asyncio.create_task(self._deliver(hooks, receiver, body))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def close(self) -> None:
        """Give what waits a moment, and drop the rest."""
        if self._jobs:
            await asyncio.wait(self._jobs, timeout=CLOSE_SECONDS)
        if lost := list(self._jobs):
            CALLBACKS.labels("dropped").inc(len(lost))
            log.warning("callbacks are dropped: the process ends", extra={"count": len(lost)})
            for job in lost:
                job.cancel()
            await asyncio.wait(lost)

    async def _deliver(self, hooks: PlannedHooks, receiver: str, body: bytes) -> None:
        turns = self._turns.setdefault(receiver, asyncio.Semaphore(POSTS_OF_OWNER))
        try:
            await self._call_back(hooks, turns, body)
        except PyMongoError as error:
            log.warning("a callback is lost, the database did not answer: %r", error)
        except Exception:
            log.exception("a callback failed unexpectedly")
        finally:
            self._bytes -= len(body)
            self._waiting[receiver] -= 1
            if not self._waiting[receiver]:
                del self._waiting[receiver], self._turns[receiver]

    async def _call_back(self, hooks: PlannedHooks, turns: asyncio.Semaphore, body: bytes) -> None:
        assert hooks.callback is not None
        delivery_id = new_id("call")
        number = 0
        pause: float | None = 0.0
        while pause is not None:
            await asyncio.sleep(pause)
            async with turns:
                attempt = await self._runner.call_back(hooks.callback, delivery_id, body)
            if attempt.error is None:
                CALLBACKS.labels("delivered").inc()
                return
            number += 1
            pause = pause_after(attempt, number)
        CALLBACKS.labels("failed").inc()
        failed = TaskCallbackFailed(
            delivery_id=delivery_id,
            task_id=None,
            endpoint_id=hooks.endpoint.endpoint_id,
            attempts=number,
            error=attempt.error,
        )
        await self._record_event(history_event(failed, hooks.caller))
