"""Composition root of the cache: one leader watches the runtime, the others stand by."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from nats.aio.client import Client as Nats

from model_engine_cache.leader import Leader, RuntimeHealth
from model_engine_cache.repository import ObservedRepository
from model_engine_cache.settings import CacheSettings
from model_engine_chassis.health import Health, serve_health
from model_engine_chassis.leases import Lease, LeaseStore, lead
from model_engine_chassis.lifecycle import run_until
from model_engine_chassis.mongo import connect_mongo
from model_engine_chassis.nats_connection import connect
from model_engine_chassis.redis_connection import connect_redis
from model_engine_runtime.driver import open_runtime
from model_engine_runtime.protocol import Runtime

LEASE = "cache"


@dataclass(frozen=True, slots=True)
class Cache:
    """The service: leads when the lease is free, stands by otherwise. `open_runtime` gives it its runtime."""

    settings: CacheSettings
    open_runtime: Callable[[CacheSettings, Nats], Runtime] = open_runtime

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set."""
        settings = self.settings
        nats = await connect(settings, "cache")
        database = connect_mongo(settings)
        redis = connect_redis(settings)
        runtime_health = RuntimeHealth()
        health = Health()
        health.add_check("nats", partial(nats.flush, 2))
        health.add_check("mongo", partial(database.command, "ping"))
        health.add_check("redis", redis.ping)
        health.add_check("runtime", runtime_health.check)

        async def body(lease: Lease) -> None:
            leader = Leader(
                epoch=lease.epoch,
                runtime=self.open_runtime(settings, nats),
                js=nats.jetstream(),
                repository=ObservedRepository(redis),
                health=runtime_health,
            )
            await leader.run()

        try:
            await run_until(
                stop,
                serve_health(health, settings.health_host, settings.health_port, stop),
                lead(LeaseStore(database), LEASE, settings.instance_id, settings.lease_seconds, body, stop),
            )
        finally:
            await nats.close()
            await redis.aclose()
            database.client.close()


def build(settings: CacheSettings) -> Cache:
    """Watches the runtime and keeps the observed state of every endpoint in Redis and in the event stream."""
    return Cache(settings)
