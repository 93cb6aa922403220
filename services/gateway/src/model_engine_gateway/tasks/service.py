"""Async tasks assembled: two ASGI routes and what runs behind them."""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

from model_engine_chassis.dead_letters import watch_dead_letters
from model_engine_chassis.leases import LeaseStore, lead
from model_engine_contracts.topology import GATEWAY_DEAD_LETTERS
from model_engine_gateway.inference.routing import Gate, Route
from model_engine_gateway.inference.service import Inference
from model_engine_gateway.tasks.dead_letters import on_dead_letter
from model_engine_gateway.tasks.read import ReadTask
from model_engine_gateway.tasks.repository import TaskRepository
from model_engine_gateway.tasks.results import Results
from model_engine_gateway.tasks.settings import TaskSettings
from model_engine_gateway.tasks.submit import SubmitTask
from model_engine_gateway.tasks.sweep import LEASE, LEASE_SECONDS, Sweep
from model_engine_gateway.tasks.task_queue import TaskQueue


class AsyncTasks:
    """`submit` and `read` are ASGI callables for POST /v1/async-tasks and GET /v1/async-tasks/{id}."""

    def __init__(
        self, settings: TaskSettings, *, nats: Any, database: Any, inference: Inference, store: LeaseStore
    ) -> None:
        self._settings = settings
        self._nats = nats
        self._store = store
        self._tasks = TaskRepository(database, timedelta(seconds=settings.task_retention_seconds))
        self._queue = TaskQueue(nats)
        self._submit = SubmitTask(inference.intake, self._tasks, self._queue, inference.wakes, settings.max_task_bytes)
        gate = Gate(settings.max_task_requests)
        self.submit = Route("async", "POST", self._submit, gate)
        self.read = Route("task", "GET", ReadTask(inference.intake, self._tasks), gate)

    async def run(self, stop: asyncio.Event) -> None:
        """Consume reports and dead letters, and sweep when this process leads; drains when `stop` is set."""
        settings = self._settings
        sweep = Sweep(self._tasks, self._queue, settings.task_sweep_seconds)
        results = Results(self._tasks).puller(self._nats, settings.drain_seconds)
        async with asyncio.TaskGroup() as group:
            group.create_task(results.run(stop))
            group.create_task(
                watch_dead_letters(self._nats, GATEWAY_DEAD_LETTERS, partial(on_dead_letter, self._tasks), stop)
            )
            group.create_task(lead(self._store, LEASE, settings.instance_id, LEASE_SECONDS, sweep.run, stop))

    async def close(self) -> None:
        """Write what is still in memory; call it when no request runs any more."""
        await self._submit.close()
