"""The sweep: tasks that nobody will bring to an end by itself. One gateway at a time does it, under a lease.

Every step looks at the state and is safe to repeat, so dying in the middle costs nothing.
"""

import asyncio
import logging
from datetime import timedelta

from pymongo.errors import PyMongoError

from model_engine_chassis.leases import Lease
from model_engine_chassis.publish import QueueFull
from model_engine_gateway.clock import now
from model_engine_gateway.tasks import metrics
from model_engine_gateway.tasks.reconcile import Reconciliation
from model_engine_gateway.tasks.repository import TaskRepository
from model_engine_gateway.tasks.states import TaskState
from model_engine_gateway.tasks.task import EXPIRY_GRACE, Finish, Publication, Task, cancellation
from model_engine_gateway.tasks.task_queue import TaskQueue, Unavailable

log = logging.getLogger(__name__)

LEASE = "task-sweep"
LEASE_SECONDS = 10.0
UNKNOWN_SECONDS = 10.0
"""A publication that is not recorded after this time is done again."""

BATCH = 500
PUBLISH_BATCH = 64
"""Small, because these tasks are read with their requests."""

RECONCILE_SECONDS = 30.0


class Sweep:
    """`seconds` lie between two rounds."""

    def __init__(
        self, tasks: TaskRepository, queue: TaskQueue, seconds: float, unknown_seconds: float = UNKNOWN_SECONDS
    ) -> None:
        self._tasks = tasks
        self._queue = queue
        self._seconds = seconds
        self._unknown_seconds = unknown_seconds
        self._reconciliation = Reconciliation(tasks, queue)

    async def run(self, lease: Lease) -> None:
        """Sweep until cancelled. Trouble of a server is logged, the next round tries again."""
        loop = asyncio.get_running_loop()
        reconciled_at = loop.time()
        while True:
            try:
                await self.round()
                if loop.time() - reconciled_at >= RECONCILE_SECONDS:
                    reconciled_at = loop.time()
                    await self._reconciliation.round()
            except (*Unavailable, PyMongoError) as error:
                log.warning("the sweep of tasks will be tried again: %r", error, extra={"epoch": lease.epoch})
            await asyncio.sleep(self._seconds)

    async def round(self) -> None:
        """One look at everything. Raises Unavailable and PyMongoError."""
        await self.requeue_after_loss()
        await self.expire()
        await self.cancel_of_deleted_endpoints()
        await self.publish_unknown()

    async def requeue_after_loss(self) -> None:
        """A stream made anew has none of the messages that earlier ones had."""
        stream = await self._queue.stream()
        if count := await self._tasks.requeue_foreign(stream, now() - timedelta(seconds=self._unknown_seconds)):
            metrics.SWEPT.labels("requeued").inc(count)
            log.warning("the stream of tasks was lost, open tasks are queued again", extra={"tasks": count})

    async def expire(self) -> None:
        """Tasks that nobody took in time."""
        while expired := await self._tasks.expired(now() - EXPIRY_GRACE, BATCH):
            await self._tasks.apply([Finish(task.id, TaskState.EXPIRED, now()) for task in expired])
            metrics.SWEPT.labels("expired").inc(len(expired))
            for task in expired:
                await self._queue.remove(task)

    async def cancel_of_deleted_endpoints(self) -> None:
        """Open tasks of endpoints that are being deleted."""
        for endpoint_id in await self._tasks.leaving(await self._tasks.open_endpoints()):
            while tasks := await self._tasks.open_tasks(endpoint_id, BATCH):
                await self._tasks.apply([cancellation(task, "The endpoint was deleted.", now()) for task in tasks])
                metrics.SWEPT.labels("cancelled").inc(len(tasks))
            await self._queue.purge(endpoint_id)

    async def publish_unknown(self) -> None:
        """Tasks whose publication is not recorded: the queue recognises those that it has already.

        Each is tried once; those of a full queue are put behind the others.
        """
        before = now() - timedelta(seconds=self._unknown_seconds)
        while unknown := await self._tasks.unpublished(before, PUBLISH_BATCH):
            outcomes = await asyncio.gather(*(self._publish(task) for task in unknown), return_exceptions=True)
            pairs = list(zip(unknown, outcomes, strict=True))
            if published := [outcome for _, outcome in pairs if isinstance(outcome, Publication)]:
                await self._tasks.record_publications(published, await self._queue.stream())
                metrics.SWEPT.labels("published").inc(len(published))
            if refused := [task for task, outcome in pairs if isinstance(outcome, QueueFull)]:
                await self._tasks.postpone(refused, now())
            for _, outcome in pairs:
                if isinstance(outcome, BaseException) and not isinstance(outcome, QueueFull):
                    raise outcome

    async def _publish(self, task: Task) -> Publication:
        return Publication(task.id, task.attempt, await self._queue.publish(task))
