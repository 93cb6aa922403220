"""Async tasks assembled: two ASGI routes, what owners do with tasks, and what runs behind them."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from typing import Any

from model_engine_chassis.dead_letters import watch_dead_letters
from model_engine_chassis.leases import LeaseStore, lead
from model_engine_contracts.topology import GATEWAY_DEAD_LETTERS
from model_engine_gateway.hooks.runner import HookRunner
from model_engine_gateway.inference.routing import Gate, Route
from model_engine_gateway.inference.service import Inference
from model_engine_gateway.repositories.results import ResultRepository
from model_engine_gateway.result_addresses import ResultAddresses
from model_engine_gateway.tasks.dead_letters import on_dead_letter
from model_engine_gateway.tasks.hook_queue import HookQueue
from model_engine_gateway.tasks.hooks import TaskHooks
from model_engine_gateway.tasks.manage import ManagedTasks
from model_engine_gateway.tasks.read import ReadTask
from model_engine_gateway.tasks.repository import TaskRepository
from model_engine_gateway.tasks.results import Results
from model_engine_gateway.tasks.settings import TaskSettings
from model_engine_gateway.tasks.stored_results import StoredResults
from model_engine_gateway.tasks.submit import SubmitTask
from model_engine_gateway.tasks.sweep import LEASE, LEASE_SECONDS, Sweep
from model_engine_gateway.tasks.task_queue import TaskQueue
from model_engine_gateway.tasks.waiting import Waiting


class AsyncTasks:
    """`submit` and `read` are ASGI callables for POST /v1/async-tasks and GET /v1/async-tasks/{id}; `managed` is what
    the control routes of tasks work with."""

    def __init__(
        self,
        settings: TaskSettings,
        *,
        nats: Any,
        database: Any,
        inference: Inference,
        store: LeaseStore,
        results: ResultRepository,
        addresses: ResultAddresses | None,
        runner: HookRunner,
    ) -> None:
        self._settings = settings
        self._nats = nats
        self._store = store
        self._waiting = Waiting()
        stored = StoredResults(results, addresses, settings.max_inline_result_bytes)
        self._hooks = TaskHooks(HookQueue(database), runner, stored)
        self._tasks = TaskRepository(database, timedelta(seconds=settings.task_retention_seconds), on_end=self._on_end)
        self._queue = TaskQueue(nats, addresses)
        self._submit = SubmitTask(inference.intake, self._tasks, self._queue, inference.wakes, settings.max_task_bytes)
        gate = Gate(settings.max_task_requests)
        reading = Gate(settings.max_task_requests)  # of its own: reads may wait for a minute
        self.submit = Route("async", "POST", self._submit, gate)
        self.managed = ManagedTasks(self._tasks, self._queue, nats, inference.directory.find)
        self.read = Route("task", "GET", ReadTask(inference.intake, self._tasks, stored, self._waiting), reading)

    async def run(self, stop: asyncio.Event) -> None:
        """Consume reports and dead letters, and sweep when this process leads; drains when `stop` is set."""
        settings = self._settings
        sweep = Sweep(self._tasks, self._queue, settings.task_sweep_seconds)
        results = Results(self._tasks).puller(self._nats, settings.drain_seconds)
        async with asyncio.TaskGroup() as group:
            group.create_task(results.run(stop))
            group.create_task(self._hooks.run(stop))
            polling = group.create_task(self._waiting.run(self._tasks))
            group.create_task(
                watch_dead_letters(self._nats, GATEWAY_DEAD_LETTERS, partial(on_dead_letter, self._tasks), stop)
            )
            group.create_task(lead(self._store, LEASE, settings.instance_id, LEASE_SECONDS, sweep.run, stop))
            await stop.wait()
            polling.cancel()
            self._waiting.close()
            self._hooks.poke()

    def _on_end(self, task_ids: Iterable[str]) -> None:
        self._waiting.wake(task_ids)
        self._hooks.poke()

    async def close(self) -> None:
        """Write what is still in memory; call it when no request runs any more."""
        await self._submit.close()
