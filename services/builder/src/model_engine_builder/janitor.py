"""Removes what nobody wants any more: orphaned workers, unused environments, records of endpoints that are gone."""

import asyncio
import logging
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NoReturn

import nats.errors
from prometheus_client import Counter, Gauge
from pymongo.errors import PyMongoError

from model_engine_builder.clock import now
from model_engine_builder.domain.orphans import judge_orphans, unused_environments
from model_engine_builder.queues import Queues
from model_engine_builder.repository import EndpointRepository, RolloutRepository
from model_engine_chassis.leases import LeaseStore
from model_engine_runtime.errors import EnvironmentInUse, RuntimeProtocolError, RuntimeUnavailable
from model_engine_runtime.protocol import Runtime, Snapshot

log = logging.getLogger(__name__)

REMOVED = Counter("modelengine_builder_orphans_removed", "Workers' sets removed that had no endpoint.")
BRAKED = Gauge("modelengine_builder_orphans_braked", "Orphans that are too many to be removed; look at the database.")
RELEASED = Counter("modelengine_builder_environments_released", "Environments removed that nobody used.")


@dataclass(slots=True)
class Janitor:
    """One of the builders at a time does this, under a lease. Times in seconds."""

    runtime: Runtime
    endpoints: EndpointRepository
    rollouts: RolloutRepository
    queues: Queues
    leases: LeaseStore
    installation: str
    interval: float
    orphan_age: float
    environment_grace: float
    candidates: frozenset[str] = frozenset()
    unused_since: dict[str, float] = field(default_factory=dict)

    async def run(self) -> NoReturn:
        """Clean up for ever."""
        while True:
            try:
                await self.once()
            except (PyMongoError, nats.errors.Error, RuntimeProtocolError, TimeoutError, OSError) as error:
                log.warning("clean-up failed", extra={"error": repr(error)})
            await asyncio.sleep(self.interval)

    async def once(self) -> None:
        """One pass. Raises the errors of MongoDB, NATS and the runtime."""
        # The runtime first: whatever it holds has been in the database before.
        snapshot = await self._look()
        endpoints = await self.endpoints.ids()
        is_ours = snapshot.installation == self.installation
        await self._remove_orphans(snapshot, endpoints, is_ours=is_ours)
        if endpoints and is_ours:
            await self._release_environments(snapshot)
            await self._forget_rollouts(endpoints)

    async def _look(self) -> Snapshot:
        async with aclosing(self.runtime.watch()) as watch:
            async for item in watch:
                if isinstance(item, Snapshot):
                    return item
        raise RuntimeUnavailable("the watch ended without a snapshot")

    async def _remove_orphans(self, snapshot: Snapshot, endpoints: set[str], *, is_ours: bool) -> None:
        verdict = judge_orphans(
            snapshot.sets, endpoints, self.candidates, is_ours=is_ours, now=time.time(), min_age=self.orphan_age
        )
        self.candidates = verdict.candidates
        BRAKED.set(verdict.braked)
        if verdict.braked:
            log.error(
                "too many workers have no endpoint in the database; none is removed. Check that this is the right "
                "database and that it is whole",
                extra={"orphans": verdict.braked, "sets": len(snapshot.sets), "endpoints": len(endpoints)},
            )
        for state in verdict.remove:
            log.warning("workers without an endpoint are removed", extra={"endpoint": state.endpoint_id})
            await self.runtime.delete(state.endpoint_id, state.generation)
            await self.queues.remove(state.endpoint_id)
            REMOVED.inc()

    async def _release_environments(self, snapshot: Snapshot) -> None:
        used = await self.rollouts.environment_keys()
        moment = time.time()
        self.unused_since = unused_environments(snapshot.preparations, used, self.unused_since, moment)
        for key, since in list(self.unused_since.items()):
            if moment - since < self.environment_grace:
                continue
            try:
                await self.runtime.release(key)
            except EnvironmentInUse:
                continue
            log.info("unused environment released", extra={"key": key})
            RELEASED.inc()

    async def _forget_rollouts(self, endpoints: set[str]) -> None:
        resting_since = now() - timedelta(seconds=self.orphan_age)
        for endpoint_id in await self.rollouts.without_endpoint(endpoints, resting_since):
            await self.rollouts.remove(endpoint_id)
            await self.leases.remove(f"endpoint:{endpoint_id}")
