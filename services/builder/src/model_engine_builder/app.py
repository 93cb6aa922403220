"""Composition root of the builder: the only file that makes clients and binds the parts to one another."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from nats.aio.client import Client as Nats
from pymongo.errors import PyMongoError

from model_engine_builder.artifact_sources import ArtifactSources
from model_engine_builder.clock import now
from model_engine_builder.domain.view import RuntimeView
from model_engine_builder.executor import Executor
from model_engine_builder.handlers import on_endpoint_event
from model_engine_builder.janitor import Janitor
from model_engine_builder.log_server import LogServer
from model_engine_builder.queues import Queues
from model_engine_builder.reconciler import Reconciler
from model_engine_builder.repository import ROLLOUT_INDEXES, ROLLOUTS, EndpointRepository, RolloutRepository
from model_engine_builder.resync import Resync
from model_engine_builder.settings import BuilderSettings
from model_engine_builder.watching import Watching
from model_engine_builder.work_queue import WorkQueue
from model_engine_chassis.consume import create_broker, run_consumers, subscribe_events
from model_engine_chassis.health import Health, serve_health
from model_engine_chassis.leases import Lease, LeaseStore, lead
from model_engine_chassis.lifecycle import run_until
from model_engine_chassis.mongo import connect_mongo, ensure_indexes, installation_id
from model_engine_chassis.nats_connection import connect
from model_engine_chassis.publish import publish_event
from model_engine_chassis.retry import backoff
from model_engine_contracts.topology import BUILDER_ENDPOINTS
from model_engine_runtime.driver import open_runtime

log = logging.getLogger(__name__)

JANITOR_LEASE = "builder-janitor"


@dataclass(frozen=True, slots=True)
class Builder:
    """The service. `open_rollouts` makes the repository of what the builder remembers."""

    settings: BuilderSettings
    open_rollouts: Callable[[Any], RolloutRepository] = RolloutRepository

    async def run(self, stop: asyncio.Event) -> None:
        """Build until `stop` is set, then drain."""
        nats = await connect(self.settings, "builder")
        database = connect_mongo(self.settings)
        try:
            installation = await _await_database(database, stop)
            if installation is not None:
                await self._run(nats, database, installation, stop)
        finally:
            await nats.close()
            database.client.close()

    async def _run(self, nats: Nats, database: Any, installation: str, stop: asyncio.Event) -> None:
        settings = self.settings
        limits = settings.limits()
        runtime = open_runtime(settings, nats)
        endpoints, rollouts = EndpointRepository(database), self.open_rollouts(database)
        leases, queues = LeaseStore(database), Queues(nats)
        view = RuntimeView(installation, "the runtime has not been seen yet", now())
        reconciler = Reconciler(
            queue=WorkQueue("endpoints"),
            endpoints=endpoints,
            rollouts=rollouts,
            leases=leases,
            executor=Executor(
                runtime=runtime,
                queues=queues,
                view=view,
                rollouts=rollouts,
                locate=ArtifactSources(settings).locate,
                publish=partial(publish_event, nats.jetstream()),
                instance=settings.instance_id,
            ),
            view=view,
            queues=queues,
            limits=limits,
            installation=installation,
            instance=settings.instance_id,
            lease_seconds=settings.lease_seconds,
        )
        resync = Resync(endpoints, rollouts, queues, view, reconciler, settings.resync_seconds)
        watching = Watching(runtime, view, reconciler, WorkQueue("environments"), rollouts, resync.demand)
        logs = LogServer(nats, runtime, rollouts, settings.max_log_streams, settings.max_log_seconds)
        broker = create_broker(settings, "builder-events")
        subscribe_events(broker, BUILDER_ENDPOINTS, partial(on_endpoint_event, reconciler.queue))
        health = Health()
        health.add_check("mongo", partial(database.command, "ping"))
        health.add_check("nats", partial(nats.flush, 2))
        health.add_check("runtime", watching.check)

        async def clean_up(lease: Lease) -> None:
            janitor = Janitor(
                runtime=runtime,
                endpoints=endpoints,
                rollouts=rollouts,
                queues=queues,
                leases=leases,
                installation=installation,
                interval=settings.janitor_seconds,
                orphan_age=settings.orphan_age_seconds,
                environment_grace=settings.environment_grace_seconds,
            )
            await janitor.run()

        await run_until(
            stop,
            serve_health(health, settings.health_host, settings.health_port, stop),
            watching.run(),
            watching.run_environments(),
            reconciler.run(settings.passes_at_once),
            resync.run(),
            lead(leases, JANITOR_LEASE, settings.instance_id, 3 * settings.lease_seconds, clean_up, stop),
            serving=(run_consumers(broker, stop), logs.run(stop)),
        )


async def _await_database(database: Any, stop: asyncio.Event) -> str | None:
    """The installation's id, as soon as MongoDB answers; None when `stop` is set before."""
    attempt = 0
    while not stop.is_set():
        try:
            await ensure_indexes(database, {ROLLOUTS: ROLLOUT_INDEXES})
            return await installation_id(database)
        except PyMongoError as error:
            log.warning("waiting for MongoDB", extra={"error": str(error)})
            await asyncio.sleep(backoff(attempt, 0.5, 5.0))
            attempt += 1
    return None


def build(settings: BuilderSettings, **overrides: Any) -> Builder:
    """Turns every requested endpoint into workers that answer, and keeps it so."""
    return Builder(settings, **overrides)
