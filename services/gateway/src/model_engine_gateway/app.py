"""Composition root of the gateway: the only file that makes clients and binds the parts to one another."""

import asyncio
import logging
from datetime import timedelta
from functools import partial
from typing import Any

import nats.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from pymongo.errors import PyMongoError

from model_engine_chassis.asgi_server import listen, serve_asgi
from model_engine_chassis.consume import create_broker, run_consumers, subscribe_events
from model_engine_chassis.follow import follow_events
from model_engine_chassis.health import Health, serve_health
from model_engine_chassis.history import History
from model_engine_chassis.leases import LeaseStore
from model_engine_chassis.lifecycle import run_until
from model_engine_chassis.mongo import connect_mongo, ensure_indexes
from model_engine_chassis.nats_connection import connect, disconnect
from model_engine_chassis.outbound import OutboundClient
from model_engine_chassis.outbox import OutboxRelay
from model_engine_chassis.publish import publish_event
from model_engine_chassis.redis_connection import connect_redis
from model_engine_chassis.topology_ensure import ensure_topology
from model_engine_contracts.documents import ENDPOINTS
from model_engine_contracts.events import Event
from model_engine_contracts.subjects import HISTORY_ROOT, KEY_REVOKED_SUBJECT
from model_engine_contracts.topology import GATEWAY_STATUS
from model_engine_gateway.access import Admission
from model_engine_gateway.api_keys import ApiKeys
from model_engine_gateway.audit import AUDIT, Audited, AuditRepository
from model_engine_gateway.bundles import Bundles
from model_engine_gateway.clock import now
from model_engine_gateway.control.application import Control, build_control_app
from model_engine_gateway.control.live_streams import LiveStreams
from model_engine_gateway.edge import Edge
from model_engine_gateway.endpoint_logs import EndpointLogs
from model_engine_gateway.endpoints import Endpoints
from model_engine_gateway.handlers import on_fact
from model_engine_gateway.hooks.after_calls import CallHooks
from model_engine_gateway.hooks.runner import HookRunner, LogSink
from model_engine_gateway.hooks.secrets import CallbackSecrets
from model_engine_gateway.idempotency import IdempotentPosts
from model_engine_gateway.identity import load_identify
from model_engine_gateway.inference.service import Inference
from model_engine_gateway.principals import Principals
from model_engine_gateway.queue_depths import read_queue_depths
from model_engine_gateway.repositories.api_keys import API_KEY_INDEXES, API_KEYS, ApiKeyRepository
from model_engine_gateway.repositories.artifacts import ARTIFACT_INDEXES, ARTIFACTS, ArtifactRepository
from model_engine_gateway.repositories.bundles import BUNDLE_INDEXES, BUNDLES, BundleRepository
from model_engine_gateway.repositories.endpoints import ENDPOINT_INDEXES, EndpointRepository
from model_engine_gateway.repositories.idempotency import IDEMPOTENCY, IDEMPOTENCY_INDEXES, IdempotencyRepository
from model_engine_gateway.repositories.loose_events import LOOSE_EVENTS, LooseEvents
from model_engine_gateway.repositories.results import RESULT_INDEXES, RESULTS, ResultRepository
from model_engine_gateway.result_addresses import ResultAddresses
from model_engine_gateway.settings import GatewaySettings
from model_engine_gateway.tasks.repository import TASK_INDEXES, TASKS
from model_engine_gateway.tasks.service import AsyncTasks
from model_engine_gateway.webhooks.deliverer import Deliverer
from model_engine_gateway.webhooks.repository import SUBSCRIPTION_INDEXES, SUBSCRIPTIONS, SubscriptionRepository
from model_engine_gateway.webhooks.sender import Sender
from model_engine_gateway.webhooks.subscriptions import Subscriptions

log = logging.getLogger(__name__)

INDEXES = {
    ENDPOINTS: ENDPOINT_INDEXES,
    BUNDLES: BUNDLE_INDEXES,
    API_KEYS: API_KEY_INDEXES,
    ARTIFACTS: ARTIFACT_INDEXES,
    TASKS: TASK_INDEXES,
    RESULTS: RESULT_INDEXES,
    IDEMPOTENCY: IDEMPOTENCY_INDEXES,
    SUBSCRIPTIONS: SUBSCRIPTION_INDEXES,
}
OUTBOXES = (ENDPOINTS, BUNDLES, API_KEYS, AUDIT, TASKS, SUBSCRIPTIONS, LOOSE_EVENTS)
ARTIFACT_SWEEP_SECONDS = 3600.0
ARTIFACT_GRACE = timedelta(days=1)
RESULT_MARGIN = timedelta(days=1)
"""A stored result outlives its task's record by so much."""


class Gateway:
    """The service. `port` is where the REST API listens, once `started` is set."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.started = asyncio.Event()
        self._identify = load_identify(settings.identity)
        self.port = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain."""
        settings = self.settings
        nats_client = await connect(settings, "gateway")
        database = connect_mongo(settings)
        redis = connect_redis(settings)
        try:
            await ensure_indexes(database, INDEXES)
            await ensure_topology(nats_client.jetstream())
            await self._serve(nats_client, database, redis, stop)
        finally:
            await disconnect(nats_client)
            await redis.aclose()
            database.client.close()

    async def _serve(self, nats_client: Nats, database: Any, redis: Any, stop: asyncio.Event) -> None:
        settings = self.settings
        js = nats_client.jetstream()
        keys = ApiKeyRepository(database)
        bundles, endpoints = BundleRepository(database), EndpointRepository(database)
        artifacts, history = ArtifactRepository(database), History(database)
        principals = Principals(keys, lambda: nats_client.is_connected, self._identify)
        admission = Admission(principals, settings.admin_token)
        streams = LiveStreams(settings.max_event_streams)
        addresses = _result_addresses(settings)
        outbound = OutboundClient(settings.allowed_callback_networks)
        secrets = CallbackSecrets(database)
        runner = HookRunner(outbound, secrets, LogSink())
        call_hooks = CallHooks(runner, LooseEvents(database).add)
        inference = Inference(
            settings,
            nats=nats_client,
            redis=redis,
            principals=principals,
            load_endpoint=endpoints.find,
            hooks=call_hooks,
            results=addresses,
        )
        store = LeaseStore(database)
        results = ResultRepository(database, timedelta(seconds=settings.task_retention_seconds) + RESULT_MARGIN)
        tasks = AsyncTasks(
            settings,
            nats=nats_client,
            database=database,
            inference=inference,
            store=store,
            results=results,
            addresses=addresses,
            runner=runner,
        )
        managed = Endpoints(endpoints, bundles)
        subscriptions = SubscriptionRepository(database)
        sender = Sender(outbound)
        deliverer = Deliverer(
            subscriptions,
            history,
            sender,
            store=store,
            holder=settings.instance_id,
            retry_seconds=settings.webhook_retry_seconds,
        )
        health = Health()
        health.add_check("mongo", partial(database.command, "ping"))
        health.add_check("nats", partial(nats_client.flush, 2))
        health.add_check("redis", redis.ping)
        control = Control(
            admission=admission,
            bundles=Bundles(bundles, artifacts.find),
            endpoints=managed,
            artifacts=artifacts,
            results=results,
            result_addresses=addresses,
            api_keys=ApiKeys(keys, partial(_broadcast_revocation, nats_client)),
            history=history,
            logs=EndpointLogs(nats_client),
            streams=streams,
            subscriptions=Subscriptions(subscriptions, managed, history, outbound, sender),
            queue_depths=partial(read_queue_depths, js),
            tasks=tasks.managed,
            callback_secrets=secrets,
        )
        once = partial(
            IdempotentPosts,
            records=IdempotencyRepository(database),
            admit=admission.admit,
            secret=settings.admin_token,
            max_body_bytes=settings.max_artifact_bytes,
        )
        edge = Edge(
            plain={
                "/v1/sync-tasks": inference.sync_tasks,
                "/v1/streaming-tasks": inference.streaming_tasks,
                "/v1/async-tasks": once(tasks.submit),
            },
            prefixed={"/v1/async-tasks/": tasks.read},
            control=once(Audited(build_control_app(settings, control), AuditRepository(database).add)),
            health=health,
            limit=settings.max_in_flight,
        )
        broker = create_broker(settings, "gateway-status")
        subscribe_events(broker, GATEWAY_STATUS, partial(on_fact, endpoints))
        relay = OutboxRelay(database, partial(publish_event, js), OUTBOXES, store, settings.instance_id)

        async def forget_revoked(message: Msg) -> None:
            principals.forget(message.data.decode())

        async def poke(event: Event[Any]) -> None:
            history.poke(event.owner or "")
            deliverer.poke()

        await nats_client.subscribe(KEY_REVOKED_SUBJECT, cb=forget_revoked)
        listener = listen(settings.host, settings.port, reuse_port=settings.reuse_port)
        self.port = listener.getsockname()[1]
        log.info("the REST API listens", extra={"host": settings.host, "port": self.port})
        self.started.set()
        await run_until(
            stop,
            serve_health(health, settings.health_host, settings.health_port, stop),
            principals.run(),
            inference.run(stop),
            follow_events(nats_client, subjects=[f"{HISTORY_ROOT}.>"], handler=poke, stop=stop),
            _sweep_uploads(artifacts, results),
            serving=(
                serve_asgi(edge, listener, stop, drain_seconds=settings.drain_seconds),
                run_consumers(broker, stop),
                relay.run(stop),
                deliverer.run(stop),
                tasks.run(stop),
                _close_streams(stop, streams),
            ),
        )
        await tasks.close()
        await call_hooks.close()


async def _close_streams(stop: asyncio.Event, streams: LiveStreams) -> None:
    """When the drain begins, end what would never end by itself."""
    await stop.wait()
    streams.close()


async def _broadcast_revocation(nats_client: Nats, key_id: str) -> None:
    """Tell every gateway at once; one that does not hear it reads it from the database within a second."""
    try:
        await nats_client.publish(KEY_REVOKED_SUBJECT, key_id.encode())
    except nats.errors.Error as error:
        log.warning("a revocation could not be broadcast: %r", error, extra={"key_id": key_id})


def _result_addresses(settings: GatewaySettings) -> ResultAddresses | None:
    if settings.gateway_url is None:
        return None
    return ResultAddresses(
        workers_url=settings.gateway_url,
        clients_url=settings.public_url or settings.gateway_url,
        secret=settings.artifact_url_secret,
        valid_seconds=settings.task_retention_seconds,
    )


async def _sweep_uploads(artifacts: ArtifactRepository, results: ResultRepository) -> None:
    """Remove results whose time is over, and what is left of uploads that broke off with their gateway; harmless to run
    in several processes."""
    while True:
        try:
            if count := await artifacts.sweep(now() - ARTIFACT_GRACE):
                log.info("unfinished uploads removed", extra={"count": count})
            if count := await results.sweep(now()):
                log.info("results removed", extra={"count": count})
        except PyMongoError as error:
            log.warning("unfinished uploads could not be removed: %r", error)
        await asyncio.sleep(ARTIFACT_SWEEP_SECONDS)


def build(settings: GatewaySettings) -> Gateway:
    """The gateway: the REST API of Model Engine."""
    return Gateway(settings)
