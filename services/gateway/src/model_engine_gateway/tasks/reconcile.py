"""Tasks whose message is gone although no result came: its store lost its end, or the report was lost.

An endpoint is looked at when it has more open tasks than messages. A task counts as lost only when its message is
missing and, after that was seen, every report published so far has been read: a worker reports before it acknowledges.
"""

import logging

from model_engine_gateway.clock import now
from model_engine_gateway.tasks import metrics
from model_engine_gateway.tasks.repository import TaskRepository
from model_engine_gateway.tasks.task_queue import TaskQueue

log = logging.getLogger(__name__)

LOOKUPS = 1000
"""Tasks of one endpoint that are looked up in one round; the next round goes on after them."""

RESULTS_SECONDS = 10.0


class Reconciliation:
    """Finds lost tasks and has them published again as a new attempt."""

    def __init__(self, tasks: TaskRepository, queue: TaskQueue) -> None:
        self._tasks = tasks
        self._queue = queue
        self._looked_up_to: dict[str, int] = {}

    async def round(self) -> None:
        """One look at every endpoint. Raises Unavailable and PyMongoError."""
        expected = await self._tasks.published_counts()
        depths = await self._queue.depths()
        self._looked_up_to = {key: value for key, value in self._looked_up_to.items() if key in expected}
        for endpoint_id, count in expected.items():
            if count > depths.get(endpoint_id, 0):
                await self._look_at(endpoint_id)

    async def _look_at(self, endpoint_id: str) -> None:
        after = self._looked_up_to.get(endpoint_id, 0)
        tasks = await self._tasks.published(endpoint_id, after, LOOKUPS)
        self._looked_up_to[endpoint_id] = tasks[-1].sequence or 0 if len(tasks) == LOOKUPS else 0
        missing = await self._queue.without_message(tasks)
        if not missing or not await self._queue.results_are_read(RESULTS_SECONDS):
            return
        count = await self._tasks.requeue(missing, now())
        if count:
            metrics.SWEPT.labels("lost").inc(count)
            log.warning(
                "tasks without message and result are queued again", extra={"endpoint_id": endpoint_id, "tasks": count}
            )
