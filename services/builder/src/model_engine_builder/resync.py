"""Resync: compare every endpoint with what is remembered and seen, and queue those that differ."""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import NoReturn

import nats.errors
from prometheus_client import Gauge, Histogram
from pymongo.errors import PyMongoError

from model_engine_builder.domain.settled import is_settled
from model_engine_builder.domain.view import RuntimeView
from model_engine_builder.queues import Queues
from model_engine_builder.reconciler import Reconciler
from model_engine_builder.repository import EndpointRepository, RolloutRepository

log = logging.getLogger(__name__)

RETRY_SECONDS = 2.0

RESYNC_SECONDS = Histogram("modelengine_builder_resync_seconds", "Time of one resync.")
ENDPOINTS = Gauge("modelengine_builder_endpoints", "Endpoints in the database.")
UNSETTLED = Gauge("modelengine_builder_unsettled_endpoints", "Endpoints that a resync found to be worked on.")


@dataclass(slots=True)
class Resync:
    """Events are wake-ups only; this is what makes every endpoint converge. At once, periodically and on demand."""

    endpoints: EndpointRepository
    rollouts: RolloutRepository
    queues: Queues
    view: RuntimeView
    reconciler: Reconciler
    interval: float
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)

    def demand(self) -> None:
        """Run soon."""
        self._wanted.set()

    async def run(self) -> NoReturn:
        """Run for ever."""
        while True:
            self._wanted.clear()
            pause = self.interval
            try:
                with RESYNC_SECONDS.time():
                    await self.once()
            except (PyMongoError, nats.errors.Error, TimeoutError, OSError) as error:
                log.warning("resync failed", extra={"error": repr(error)})
                pause = min(RETRY_SECONDS, self.interval)
            try:
                async with asyncio.timeout(pause):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    async def once(self) -> None:
        """Queue every endpoint that is not settled. Raises the errors of MongoDB and NATS."""
        await self.queues.refresh()
        rollouts = await self.rollouts.summaries()
        settled: dict[str, int] = {}
        unsettled = 0
        async for endpoint in self.endpoints.summaries():
            rollout = rollouts.get(endpoint.id)
            queue = self.queues.exists(endpoint.id) if endpoint.has_queue else None
            if is_settled(endpoint, rollout, self.view.of(endpoint.id, None, queue)):
                settled[endpoint.id] = endpoint.generation
            else:
                unsettled += 1
                self.reconciler.queue.add(endpoint.id)
        self.reconciler.settled = settled
        ENDPOINTS.set(len(settled) + unsettled)
        UNSETTLED.set(unsettled)
