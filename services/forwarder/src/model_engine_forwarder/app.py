"""The composition root: everything is built here and nowhere else."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry

from model_engine_chassis.limiter import Limiter
from model_engine_chassis.settings_base import NatsSettings, load_settings
from model_engine_chassis.upstream import UpstreamPool
from model_engine_forwarder.asgi import ForwarderApp
from model_engine_forwarder.config import Config
from model_engine_forwarder.metrics import Metrics
from model_engine_forwarder.readiness import HealthRoute, Readiness
from model_engine_forwarder.routes import Parts, build_routes

RunTasks = Callable[[asyncio.Event, float], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Forwarder:
    """A built forwarder: `app` serves HTTP, `readiness` is followed beside it.

    `run_tasks` works on the task queue of an async worker until its event is set, and drains for that many seconds.
    """

    config: Config
    app: ForwarderApp
    readiness: Readiness
    pool: UpstreamPool
    run_tasks: RunTasks | None


def build(config: Config, registry: CollectorRegistry = REGISTRY) -> Forwarder:
    """Build a forwarder; nothing is started. Raises SettingsError when a queue is configured and NATS is not."""
    pool = UpstreamPool(
        max_connections=2 * config.max_concurrency,
        connect_timeout=config.connect_timeout_seconds,
        head_timeout=config.head_timeout_seconds,
        idle_timeout=config.idle_timeout_seconds,
    )
    blocks = [block for block in (config.sync, config.stream, config.async_) if block is not None]
    routes = frozenset(HealthRoute(block.user_hostname, block.user_port, block.health_route) for block in blocks)
    readiness = Readiness(pool, routes)
    limiter = Limiter(config.max_concurrency, max_waiting=config.max_queue, wait_seconds=config.queue_timeout_seconds)
    metrics = Metrics(registry, limiter, readiness)
    app = ForwarderApp(build_routes(Parts(config, pool, limiter, readiness, metrics)), readiness, metrics)
    run_tasks = None
    if config.worker is not None and config.worker.queue is not None:
        run_tasks = _build_task_queue(config, readiness, metrics)
    return Forwarder(config, app, readiness, pool, run_tasks)


def _build_task_queue(config: Config, readiness: Readiness, metrics: Metrics) -> RunTasks:
    # Only workers of async endpoints pay for the NATS client.
    from model_engine_forwarder.task_queue import TaskQueue

    return TaskQueue(load_settings(NatsSettings), config, readiness, metrics).run
