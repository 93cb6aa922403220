"""What workers report of tasks, from the stream RESULTS into the database: in bulk, the first result wins."""

from collections.abc import Sequence
from typing import Any

from nats.aio.msg import Msg
from pydantic import ValidationError

from model_engine_chassis.puller import PermanentError, Puller
from model_engine_contracts.events import TaskCompleted, TaskExpired, TaskStarted, parse_event
from model_engine_contracts.topology import GATEWAY_RESULTS
from model_engine_gateway.clock import now
from model_engine_gateway.tasks import metrics
from model_engine_gateway.tasks.microbatch import MicroBatcher
from model_engine_gateway.tasks.repository import TaskRepository
from model_engine_gateway.tasks.task import Finish, Start, effect_of

WINDOW = 256
"""Reports that one gateway works on at once; two gateways share what the durable admits."""


class Results:
    """Handles reports. A report is acknowledged after it is in the database; one that comes again changes nothing."""

    def __init__(self, tasks: TaskRepository) -> None:
        self._tasks = tasks
        self._batch: MicroBatcher[Start | Finish] = MicroBatcher(self._apply)

    def puller(self, nats_client: Any, drain_seconds: float) -> Puller:
        """The consumer of this process on the durable that all gateways share."""
        return Puller(
            nats_client,
            stream=GATEWAY_RESULTS.stream,
            durable=GATEWAY_RESULTS.durable,
            handler=self.handle,
            window=WINDOW,
            ack_wait=GATEWAY_RESULTS.ack_wait,
            drain_seconds=drain_seconds,
        )

    async def handle(self, message: Msg) -> None:
        """Apply one report. Raises PermanentError where it is none."""
        try:
            report = parse_event(message.data).data
        except ValidationError as error:
            raise PermanentError(f"not a readable report: {error.errors(include_input=False)[0]['msg']}") from error
        if not isinstance(report, TaskStarted | TaskCompleted | TaskExpired):
            raise PermanentError(f"{report.type_name()} is no report of a task")
        metrics.REPORTS.labels(report.VERB).inc()
        await self._batch.add(effect_of(report, now()))

    async def _apply(self, effects: Sequence[Start | Finish]) -> None:
        metrics.RESULT_BATCH.observe(len(effects))
        await self._tasks.apply(effects)
