"""The composition root: everything is built here and nowhere else."""

from dataclasses import dataclass

from model_engine_chassis.limiter import Limiter
from model_engine_chassis.upstream import UpstreamPool
from model_engine_forwarder.asgi import ForwarderApp
from model_engine_forwarder.config import Config
from model_engine_forwarder.metrics import Metrics
from model_engine_forwarder.readiness import HealthRoute, Readiness
from model_engine_forwarder.routes import Parts, build_routes


@dataclass(frozen=True, slots=True)
class Forwarder:
    """A built forwarder: `app` serves HTTP, `readiness` is followed beside it."""

    config: Config
    app: ForwarderApp
    readiness: Readiness
    pool: UpstreamPool


def build(config: Config) -> Forwarder:
    """Build a forwarder; nothing is started."""
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
    metrics = Metrics(limiter, readiness)
    app = ForwarderApp(build_routes(Parts(config, pool, limiter, readiness, metrics)), readiness, metrics)
    return Forwarder(config, app, readiness, pool)
