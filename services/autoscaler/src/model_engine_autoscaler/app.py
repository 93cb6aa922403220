"""Composition root of the autoscaler: one leader scales, the others stand by."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from nats.aio.client import Client as Nats
from nats.errors import Error as NatsError

from model_engine_autoscaler.domain.demand import Demand
from model_engine_autoscaler.domain.policy import Windows
from model_engine_autoscaler.fleet import Fleet
from model_engine_autoscaler.handlers import on_demand, on_endpoint_event, on_observed, on_wake
from model_engine_autoscaler.repository import EndpointRepository
from model_engine_autoscaler.scaler import Scaler
from model_engine_autoscaler.settings import AutoscalerSettings
from model_engine_chassis.follow import follow_events
from model_engine_chassis.health import Health, serve_health
from model_engine_chassis.leases import Lease, LeaseStore, lead
from model_engine_chassis.lifecycle import run_until
from model_engine_chassis.mongo import connect_mongo
from model_engine_chassis.nats_connection import connect
from model_engine_chassis.publish import publish_event
from model_engine_chassis.redis_connection import connect_redis
from model_engine_contracts.events import EndpointObserved
from model_engine_contracts.observed import OBSERVED_PREFIX
from model_engine_contracts.subjects import DEMAND_SUBJECT, facts, history, wake_subject
from model_engine_runtime.driver import open_runtime

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Autoscaler:
    """The service: leads when the lease is free, stands by otherwise."""

    settings: AutoscalerSettings

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set."""
        settings = self.settings
        nats = await connect(settings, "autoscaler")
        database = connect_mongo(settings)
        redis = connect_redis(settings)
        store = LeaseStore(database)
        health = Health()
        health.add_check("nats", partial(nats.flush, 2))
        health.add_check("mongo", partial(database.command, "ping"))
        health.add_check("redis", redis.ping)

        async def body(lease: Lease) -> None:
            await self._lead(lease, nats, EndpointRepository(database), redis)

        try:
            await run_until(
                stop,
                serve_health(health, settings.health_host, settings.health_port, stop),
                lead(store, "autoscaler", settings.instance_id, settings.lease_seconds, body, stop),
            )
        finally:
            await nats.drain()
            await redis.aclose()

    async def _lead(self, lease: Lease, nats: Nats, repository: EndpointRepository, redis: Any) -> None:
        settings = self.settings
        js = nats.jetstream()
        fleet, demand = Fleet(), Demand(window=settings.stable_window_seconds)
        scaler = Scaler(
            fleet=fleet,
            demand=demand,
            windows=windows_of(settings),
            runtime=open_runtime(settings, nats),
            js=js,
            publish=partial(publish_event, js),
            epoch=lease.epoch,
        )
        log.info("leading", extra={"epoch": lease.epoch})
        stop = asyncio.Event()
        following = {
            history(aggregate="endpoint"): partial(on_endpoint_event, fleet, repository),
            facts("endpoint", "observed"): partial(on_observed, fleet),
        }
        async with asyncio.TaskGroup() as tasks, _subscriptions(nats, demand, scaler):
            # Followed before the database and Redis are read, so that no change falls between.
            for subject, handler in following.items():
                started = asyncio.Event()
                tasks.create_task(follow_events(nats, subjects=[subject], handler=handler, stop=stop, started=started))
                await started.wait()
            async for document in repository.all():
                fleet.record_document(document)
            async for key in redis.scan_iter(match=f"{OBSERVED_PREFIX}*", count=1000):
                if (value := await redis.get(key)) is not None:
                    fleet.record_observed(EndpointObserved.model_validate_json(value))
            while True:
                await scaler.tick()
                await asyncio.sleep(settings.tick_seconds)


@asynccontextmanager
async def _subscriptions(nats: Nats, demand: Demand, scaler: Scaler) -> AsyncIterator[None]:
    """Demand and wake-ups, for as long as this scaler leads: a former one must hear none."""
    heard = [
        await nats.subscribe(DEMAND_SUBJECT, cb=partial(on_demand, demand)),
        await nats.subscribe(wake_subject("*"), cb=partial(on_wake, demand, scaler)),
    ]
    try:
        yield
    finally:
        for subscription in heard:
            # A connection that is closed has no subscriptions any more.
            with suppress(NatsError):
                await subscription.unsubscribe()


def windows_of(settings: AutoscalerSettings) -> Windows:
    """The policy's windows from the settings."""
    return Windows(
        stable=settings.stable_window_seconds,
        panic=settings.panic_window_seconds,
        zero_grace=settings.zero_grace_seconds,
        cooldown=settings.cooldown_seconds,
        oldest_age=settings.oldest_age_seconds,
        panic_threshold=settings.panic_threshold,
    )


def build(settings: AutoscalerSettings) -> Autoscaler:
    """Make the service from its settings."""
    return Autoscaler(settings)
