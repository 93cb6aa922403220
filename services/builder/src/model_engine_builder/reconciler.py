"""Passes: for one endpoint at a time, under its lease, take the steps that can be taken now."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn

import nats.errors
from prometheus_client import Counter, Histogram
from pymongo.errors import PyMongoError

from model_engine_builder.clock import now
from model_engine_builder.domain.next_step import next_step
from model_engine_builder.domain.rollout import Rollout, RolloutPhase
from model_engine_builder.domain.steps import Step, Wait
from model_engine_builder.domain.view import RuntimeView
from model_engine_builder.domain.worker_set import Limits
from model_engine_builder.errors import LeaseSuperseded
from model_engine_builder.executor import Executor
from model_engine_builder.queues import Queues
from model_engine_builder.repository import EndpointRepository, RolloutRepository
from model_engine_builder.work_queue import WorkQueue
from model_engine_chassis import trace
from model_engine_chassis.leases import Lease, LeaseStore
from model_engine_chassis.retry import backoff
from model_engine_contracts.documents import EndpointDocument
from model_engine_runtime.errors import RuntimeProtocolError

log = logging.getLogger(__name__)

STEPS_AT_ONCE = 12
"""More steps than a whole rollout has: an endpoint that wants more in one pass lets others have their turn."""

BUSY_SECONDS = 0.5
RETRY_CAP = 10.0
PASSING_TROUBLES = (PyMongoError, nats.errors.Error, RuntimeProtocolError, LeaseSuperseded, TimeoutError, OSError)

PASSES = Counter("modelengine_builder_passes", "Passes by how they ended.", ["outcome"])
PASS_SECONDS = Histogram("modelengine_builder_pass_seconds", "Time of one pass under a lease.")
ROLLOUTS = Counter("modelengine_builder_rollouts", "Generations that ended.", ["outcome", "reason"])


@dataclass(slots=True)
class Reconciler:
    """Takes endpoints from the queue. `settled` has the generation of those that a change of workers does not concern.

    Several builders do this at once: the lease of an endpoint, which lasts longer than a pass, keeps them apart.
    """

    queue: WorkQueue
    endpoints: EndpointRepository
    rollouts: RolloutRepository
    leases: LeaseStore
    executor: Executor
    view: RuntimeView
    queues: Queues
    limits: Limits
    installation: str
    instance: str
    lease_seconds: float
    settled: dict[str, int] = field(default_factory=dict)
    troubles: dict[str, int] = field(default_factory=dict)
    clock: Callable[[], datetime] = now

    async def run(self, workers: int) -> NoReturn:
        """Work with so many passes at once, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(workers):
                tasks.create_task(self._work())
        raise AssertionError("workers run for ever")

    async def _work(self) -> NoReturn:
        while True:
            endpoint_id = await self.queue.get()
            try:
                with trace.use(None):
                    await self._pass(endpoint_id)
            finally:
                self.queue.done(endpoint_id)

    async def _pass(self, endpoint_id: str) -> None:
        """One look at an endpoint, and what follows from it. Whatever goes wrong is tried again later."""
        try:
            await self._look(endpoint_id)
        except PASSING_TROUBLES as error:
            log.warning("pass failed", extra={"endpoint": endpoint_id, "error": repr(error)})
            self._again(endpoint_id)
        except Exception:
            # One endpoint that trips a defect must not keep the others from being served.
            log.exception("pass failed", extra={"endpoint": endpoint_id})
            self._again(endpoint_id)
        else:
            self.troubles.pop(endpoint_id, None)

    def _again(self, endpoint_id: str) -> None:
        PASSES.labels("failed").inc()
        attempt = self.troubles.get(endpoint_id, 0)
        self.troubles[endpoint_id] = attempt + 1
        self.queue.add_after(endpoint_id, backoff(attempt, 0.2, RETRY_CAP))

    async def _look(self, endpoint_id: str) -> None:
        document = await self.endpoints.find(endpoint_id)
        if document is None:
            self.settled.pop(endpoint_id, None)
            return
        rollout = await self.rollouts.find(endpoint_id)
        step = self._next(document, rollout)
        if isinstance(step, Wait):
            self._rest(document, rollout, step)
            PASSES.labels("nothing to do").inc()
            return
        lease = await self.leases.acquire(f"endpoint:{endpoint_id}", self.instance, self.lease_seconds)
        if lease is None:
            # Another builder is at it; should it die, its lease ends.
            self.queue.add_after(endpoint_id, BUSY_SECONDS * random.uniform(1.0, 2.0))  # noqa: S311  # jitter
            PASSES.labels("busy").inc()
            return
        try:
            with PASS_SECONDS.time():
                # Whoever takes over after the lease's end must not meet this one still at work.
                async with asyncio.timeout(0.8 * self.lease_seconds):
                    await self._advance(endpoint_id, lease)
        finally:
            await self._release(lease)
        PASSES.labels("advanced").inc()

    async def _advance(self, endpoint_id: str, lease: Lease) -> None:
        rollout = await self.rollouts.find(endpoint_id)
        for _ in range(STEPS_AT_ONCE):
            # Read anew before each step: a newer generation pre-empts.
            document = await self.endpoints.find(endpoint_id)
            if document is None:
                return
            step = self._next(document, rollout)
            if isinstance(step, Wait):
                self._rest(document, rollout, step)
                return
            attempt = rollout.attempt if rollout is not None else 0
            taken = await self.executor.take(step, lease, document.owner, attempt)
            if taken is None:
                return
            self._count(rollout, taken)
            rollout = taken
        self.queue.add(endpoint_id)

    def _next(self, document: EndpointDocument, rollout: Rollout | None) -> Step | Wait:
        key = rollout.environment_key if rollout is not None else None
        view = self.view.of(document.id, key, self.queues.exists(document.id))
        return next_step(document, rollout, view, self.clock(), self.limits, self.installation)

    def _rest(self, document: EndpointDocument, rollout: Rollout | None, wait: Wait) -> None:
        if wait.until is not None:
            seconds = (wait.until - self.clock()).total_seconds()
            self.queue.add_after(document.id, max(0.01, seconds))
        elif rollout is not None and rollout.phase is RolloutPhase.SUCCEEDED:
            self.settled[document.id] = rollout.generation

    async def _release(self, lease: Lease) -> None:
        try:
            await self.leases.release(lease)
        except PyMongoError as error:
            log.warning("lease not released, it ends by itself", extra={"lease": lease.name, "error": repr(error)})

    def _count(self, before: Rollout | None, after: Rollout) -> None:
        if before is not None and before.phase is after.phase:
            return
        if after.phase is RolloutPhase.SUCCEEDED:
            ROLLOUTS.labels("succeeded", "").inc()
        elif after.phase is RolloutPhase.FAILED and after.failure is not None:
            ROLLOUTS.labels("failed", after.failure.code.value).inc()
