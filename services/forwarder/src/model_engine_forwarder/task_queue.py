"""The queue side of an async worker: pulls tasks while the model server is ready, and reports what became of them."""

import asyncio
from datetime import UTC, datetime

from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from model_engine_chassis import trace
from model_engine_chassis.nats_connection import connect
from model_engine_chassis.puller import Puller, RetryLater
from model_engine_chassis.settings_base import NatsSettings
from model_engine_chassis.upstream import UpstreamPool
from model_engine_contracts.events import TaskSubmitted
from model_engine_contracts.subjects import task_cancelled_subject
from model_engine_contracts.topology import TASK_ACK_WAIT, TASK_MAX_DELIVER
from model_engine_forwarder.config import Config, QueueBlock, SyncBlock, WorkerBlock
from model_engine_forwarder.metrics import Metrics
from model_engine_forwarder.model_server import ModelServer
from model_engine_forwarder.readiness import Readiness
from model_engine_forwarder.task_cancellations import Cancellations, RunCancelled
from model_engine_forwarder.task_reports import TaskReport
from model_engine_forwarder.task_runs import TaskRuns, read_task

LONGEST_RUN_SECONDS = 7 * 86400.0
"""The bound of silence of the model server; each task has a deadline of its own, which is shorter."""


class TaskQueue:
    """Runs until stopped: connects, pulls, drains."""

    def __init__(self, settings: NatsSettings, config: Config, readiness: Readiness, metrics: Metrics) -> None:
        worker, block = config.worker, config.async_
        assert worker is not None
        assert worker.queue is not None
        assert block is not None
        self._settings = settings
        self._worker: WorkerBlock = worker
        self._queue: QueueBlock = worker.queue
        self._readiness = readiness
        self._metrics = metrics
        self._pool = UpstreamPool(
            max_connections=2 * worker.queue.concurrency,
            connect_timeout=config.connect_timeout_seconds,
            head_timeout=LONGEST_RUN_SECONDS,
            idle_timeout=LONGEST_RUN_SECONDS,
        )
        self._cancellations = Cancellations()
        self._runs = self._runs_of(block, config.max_body_bytes)

    async def run(self, stop: asyncio.Event, graceful_timeout: float) -> None:
        """Work until `stop`; then pull nothing more, let running tasks end for `graceful_timeout` seconds and give the
        rest back.
        """
        nats_client = await self._connect(stop)
        if nats_client is None:
            return
        puller = Puller(
            nats_client,
            stream=self._queue.stream,
            durable=self._queue.durable,
            handler=lambda message: self._handle(nats_client, message),
            window=0,
            ack_wait=TASK_ACK_WAIT,
            drain_seconds=graceful_timeout,
        )
        try:
            subject = task_cancelled_subject(self._worker.endpoint_id)
            await nats_client.subscribe(subject, cb=self._cancellations.hear)
            async with asyncio.TaskGroup() as group:
                following = group.create_task(self._follow_readiness(puller))
                await puller.run(stop)
                following.cancel()
        finally:
            await nats_client.close()
            self._pool.close()

    async def _connect(self, stop: asyncio.Event) -> Nats | None:
        """A connection, or None when the stop came first."""
        connecting = asyncio.create_task(connect(self._settings, f"forwarder-{self._worker.worker_id}"))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return connecting.result() if connecting.done() else None
        finally:
            connecting.cancel()
            stopping.cancel()

    async def _follow_readiness(self, puller: Puller) -> None:
        """Leave tasks to other workers while the model server is not ready."""
        while True:
            ready = self._readiness.model_problem is None
            await puller.set_window(self._queue.concurrency if ready else 0)
            await self._readiness.changed()

    async def _handle(self, nats_client: Nats, message: Msg) -> None:
        """One delivery. Returning acknowledges it: its outcome is stored by then."""
        event = read_task(message.data)
        delivery = message.metadata.num_delivered
        report = TaskReport(nats_client, event.data, self._worker.worker_id, delivery)
        with trace.use(event.traceparent):  # the caller's trace, whoever put the task into the queue
            await self._run(event.data, report, last=delivery >= TASK_MAX_DELIVER)

    async def _run(self, task: TaskSubmitted, report: TaskReport, *, last: bool) -> None:
        started_at = datetime.now(UTC)
        if task.expires_at <= started_at:
            await report.expired()
            self._metrics.task("expired")
            return
        try:
            with self._cancellations.running(task):
                async with report.started_if_slow():
                    outcome = await self._runs.run(task, last=last)
        except RunCancelled:
            self._metrics.task("cancelled")
            return
        except RetryLater:
            self._metrics.task("retried")
            self._readiness.suspect()
            raise
        await report.completed(outcome, started_at)
        self._metrics.task(outcome.outcome.lower())

    def _runs_of(self, block: SyncBlock, max_bytes: int) -> TaskRuns:
        return TaskRuns(ModelServer(self._pool, block.user_hostname, block.user_port), block, max_bytes)
