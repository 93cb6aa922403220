"""What a worker says about a task, on its way to the gateway."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import nats.errors
from nats.aio.client import Client as Nats

from model_engine_chassis import trace
from model_engine_chassis.publish import publish_result
from model_engine_chassis.retry import backoff
from model_engine_contracts.envelope import EventData, new_event
from model_engine_contracts.events import TaskCompleted, TaskExpired, TaskOutcome, TaskStarted, TaskSubmitted
from model_engine_contracts.topology import RESULTS
from model_engine_forwarder.json_bytes import encode
from model_engine_forwarder.result_upload import StorageRefused, store_result
from model_engine_forwarder.task_runs import Outcome

STARTED_AFTER = 0.05
"""Seconds that a run takes at least before it is reported as started: shorter ones are over before anyone looks."""

PATIENCE = 60.0
"""Seconds for which a report is tried again; after that the task runs once more."""

_HEADROOM = 4096

log = logging.getLogger(__name__)


class TaskReport:
    """Reports of one delivery of one task."""

    def __init__(self, nats_client: Nats, task: TaskSubmitted, worker_id: str, delivery: int) -> None:
        self._nats = nats_client
        self._js = nats_client.jetstream()
        self._task = task
        self._about = {
            "task_id": task.task_id,
            "endpoint_id": task.endpoint_id,
            "attempt": task.attempt,
            "delivery": delivery,
            "worker_id": worker_id,
        }

    async def expired(self) -> None:
        """The task came after its expiry."""
        await self._publish(TaskExpired.model_validate(self._about))

    async def completed(self, outcome: Outcome, started_at: datetime) -> None:
        """The run is over. A result that no message can hold is stored first; where it cannot be, the task fails.

        Raises RetryLater when the storage did not answer for long: the task runs once more then.
        """
        limit = min(self._nats.max_payload, RESULTS.max_msg_size) - _HEADROOM
        stored = None
        if outcome.result is not None and not _fits(outcome.result, limit):
            try:
                stored = await store_result(self._task.upload_url, outcome.result.encode(), PATIENCE)
                outcome = replace(outcome, result=None)
            except StorageRefused as error:
                text = f"The result is larger than {limit} bytes, which is what a message may hold, and {error}."
                outcome = Outcome(TaskOutcome.FAILURE, error=text, traceback=text)
        await self._publish(
            TaskCompleted.model_validate(
                {
                    **self._about,
                    "outcome": outcome.outcome,
                    "result": outcome.result,
                    "stored_result": stored,
                    "status_code": outcome.status_code,
                    "error": outcome.error,
                    "traceback": outcome.traceback,
                    "started_at": started_at,
                    "finished_at": datetime.now(UTC),
                }
            )
        )

    @contextlib.asynccontextmanager
    async def started_if_slow(self) -> AsyncIterator[None]:
        """Report the run of the block as started unless it is over at once."""
        announcing: list[asyncio.Task[None]] = []
        timer = asyncio.get_running_loop().call_later(
            STARTED_AFTER, lambda: announcing.append(asyncio.create_task(self._announce()))
        )
        try:
            yield
        finally:
            timer.cancel()
            for task in announcing:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _announce(self) -> None:
        try:
            await self._publish(TaskStarted.model_validate(self._about))
        except nats.errors.Error as error:  # the outcome matters, and is reported with its own patience
            log.warning("a task's start was not reported", extra={"cause": repr(error)})

    async def _publish(self, data: EventData) -> None:
        """Publish one report. The same event is sent again, so that the stream stores it once."""
        context = trace.current()
        traceparent = None if context is None else context.traceparent
        event = new_event(data, source="forwarder", owner=self._task.owner, traceparent=traceparent)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        attempt = 0
        while True:
            try:
                await publish_result(self._js, event)
            except nats.errors.Error as error:
                if loop.time() > deadline:
                    raise
                log.warning("a report was not stored yet", extra={"cause": repr(error)})
                await asyncio.sleep(backoff(attempt))
                attempt += 1
            else:
                return


def _fits(result: str, limit: int) -> bool:
    """Whether the result, as text within JSON, takes at most `limit` bytes; escapes at most double the text of JSON."""
    return len(result.encode()) <= limit // 2 or len(encode(result)) <= limit
