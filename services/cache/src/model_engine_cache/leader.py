"""The leader's work: watch the runtime, keep Redis complete, tell the other services."""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn

import nats.errors
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from prometheus_client import Counter, Gauge
from redis.exceptions import RedisError

from model_engine_cache.delivery import Delivery
from model_engine_cache.domain import Observations
from model_engine_cache.publisher import ObservationPublisher
from model_engine_cache.repository import PAGE, ObservedRepository
from model_engine_chassis.topology_ensure import ensure_topology
from model_engine_contracts.events import EndpointObserved
from model_engine_contracts.topology import EVENTS
from model_engine_runtime.following import follow
from model_engine_runtime.protocol import Change, Gone, Runtime, SetState, Snapshot

log = logging.getLogger(__name__)

MARKER_SECONDS = 1.0
STREAM_SECONDS = 2.0
NATS_ERRORS: tuple[type[Exception], ...] = (nats.errors.Error, TimeoutError, OSError)

KNOWN = Gauge("modelengine_cache_endpoints", "Endpoints that the runtime has workers of.")
CHANGES = Counter("modelengine_cache_changes", "Changes of endpoints that were worth telling.")
REBUILDS = Counter("modelengine_cache_rebuilds", "Times that the whole observed state was written to Redis.")


@dataclass(slots=True)
class RuntimeHealth:
    """Why the runtime is not seen now; None while it is, and while this process stands by."""

    trouble: str | None = None

    async def check(self) -> None:
        """Raises while the runtime is not seen."""
        if self.trouble is not None:
            raise RuntimeError(self.trouble)


@dataclass(slots=True)
class Leader:
    """One term of leadership, under the lease of this epoch."""

    epoch: int
    runtime: Runtime
    js: JetStreamContext
    repository: ObservedRepository
    health: RuntimeHealth
    seen: asyncio.Event = field(default_factory=asyncio.Event)
    informed: bool = field(init=False)
    observations: Observations = field(init=False)
    publisher: ObservationPublisher = field(init=False)
    to_redis: Delivery = field(init=False)
    to_nats: Delivery = field(init=False)

    async def run(self) -> NoReturn:
        """Lead until cancelled."""
        inherited = await self._inherit()
        self.observations = Observations(self.epoch, dict(inherited or {}))
        self.publisher = ObservationPublisher(self.js, dict(inherited or {}))
        self.informed = inherited is not None
        self.to_redis = Delivery("redis", self.repository.write, (RedisError, OSError))
        self.to_nats = Delivery("nats", self.publisher.publish, NATS_ERRORS)
        self.health.trouble = "the runtime has not been seen yet"
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.to_redis.run())
                tasks.create_task(self.to_nats.run())
                tasks.create_task(self._keep_complete())
                tasks.create_task(self._repeat_after_loss())
                tasks.create_task(follow(self.runtime, self._on_item, self._on_trouble))
        finally:
            self.health.trouble = None
        raise AssertionError("every task runs for ever")

    async def _inherit(self) -> dict[str, EndpointObserved] | None:
        """What the earlier leader wrote; None when it is not all there, or Redis does not answer."""
        try:
            if await self.repository.complete_epoch() is None:
                return None
            return dict(await self.repository.read_all())
        except (RedisError, OSError) as error:
            log.warning("observed state not readable", extra={"error": repr(error)})
            return None

    def _on_item(self, item: Snapshot | Change) -> None:
        self.health.trouble = None
        changed: list[EndpointObserved] = []
        if isinstance(item, Snapshot):
            changed = self.observations.replace_all(item.sets)
            if not self.informed:
                # What was told before is unknown: these workers are nothing new.
                self.publisher.announced = dict(self.observations.known)
                self.informed = True
            self.seen.set()
        elif isinstance(item, SetState):
            changed = [observed for observed in [self.observations.record(item)] if observed]
        elif isinstance(item, Gone):
            changed = [observed for observed in [self.observations.remove(item.id)] if observed]
        self._tell(changed)

    def _on_trouble(self, trouble: str) -> None:
        self.health.trouble = trouble

    def _tell(self, changed: list[EndpointObserved]) -> None:
        for observed in changed:
            self.to_redis.put(observed)
            self.to_nats.put(observed)
        CHANGES.inc(len(changed))
        KNOWN.set(len(self.observations.known))

    async def _keep_complete(self) -> NoReturn:
        """Redis may be emptied at any time: look at the marker each second; when it is not ours, write everything."""
        await self.seen.wait()
        while True:
            try:
                if await self.repository.complete_epoch() != self.epoch:
                    await self._rebuild()
            except (RedisError, OSError) as error:
                log.warning("Redis does not answer", extra={"error": repr(error)})
            await asyncio.sleep(MARKER_SECONDS)

    async def _rebuild(self) -> None:
        known = list(self.observations.known.values())
        for start in range(0, len(known), PAGE):
            await self.repository.write(known[start : start + PAGE])
        for endpoint_id, observed in (await self.repository.read_all()).items():
            if endpoint_id not in self.observations.known:
                self._tell([self.observations.gone(endpoint_id, observed.generation)])
        await self.repository.mark_complete(self.epoch)
        REBUILDS.inc()
        log.info("observed state written", extra={"endpoints": len(known), "epoch": self.epoch})

    async def _repeat_after_loss(self) -> NoReturn:
        """A stream that was made anew has lost what was told: tell everything again. Makes it when it is missing."""
        await self.seen.wait()
        made_at: datetime | None = None
        while True:
            try:
                created = (await self.js.stream_info(EVENTS.name)).created
                if made_at is not None and created != made_at:
                    log.warning("the event stream was made anew: every observation is published again")
                    for observed in self.observations.known.values():
                        self.to_nats.put(observed)
                made_at = created
            except NotFoundError:
                await self._make_streams()
            except NATS_ERRORS as error:
                log.warning("event stream not readable", extra={"error": repr(error)})
            await asyncio.sleep(STREAM_SECONDS)

    async def _make_streams(self) -> None:
        try:
            await ensure_topology(self.js)
        except NATS_ERRORS as error:
            log.warning("streams not made", extra={"error": repr(error)})
