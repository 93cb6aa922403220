"""Which handler serves which path and verb."""

from dataclasses import dataclass

from model_engine_chassis.limiter import Limiter
from model_engine_chassis.upstream import UpstreamPool
from model_engine_forwarder.asgi import Handler
from model_engine_forwarder.config import Block, Config
from model_engine_forwarder.handlers import passthrough
from model_engine_forwarder.handlers.enveloped import Choice, EnvelopedRoute, always, by_stream_flag
from model_engine_forwarder.handlers.passthrough import PassthroughRoute
from model_engine_forwarder.handlers.stream import StreamForward
from model_engine_forwarder.handlers.sync import SyncForward
from model_engine_forwarder.metrics import Metrics
from model_engine_forwarder.model_server import ModelServer
from model_engine_forwarder.readiness import Readiness

Routes = dict[str, dict[str, Handler]]


@dataclass(frozen=True, slots=True)
class Parts:
    """What handlers share."""

    config: Config
    pool: UpstreamPool
    limiter: Limiter
    readiness: Readiness
    metrics: Metrics


def build_routes(parts: Parts) -> Routes:
    """/predict and /stream, which win over equal extra routes, and the extra routes of the blocks.

    Where the stream block, or else the sync block, is of type passthrough, only its own extra routes are mounted, raw;
    otherwise those of both are, enveloped.
    """
    sync, stream = parts.config.sync, parts.config.stream
    routes: Routes = {}
    if stream is not None and stream.forwarder_type == "passthrough":
        _mount_raw(routes, parts, stream)
    elif sync is not None and sync.forwarder_type == "passthrough":
        _mount_raw(routes, parts, sync)
    else:
        _mount_enveloped(routes, parts)
    if sync is not None:
        routes["/predict"] = {"POST": _enveloped(parts, always(_sync(parts, sync.predict_route)))}
    if stream is not None:
        routes["/stream"] = {"POST": _enveloped(parts, always(_stream(parts, stream.predict_route)))}
    return routes


def _mount_raw(routes: Routes, parts: Parts, block: Block) -> None:
    server = _server(parts, block)
    idle_timeout = parts.config.idle_timeout_seconds
    handler = PassthroughRoute(parts.limiter, parts.readiness, server, idle_timeout, parts.metrics.failure)
    for route in block.all_routes:
        routes[route] = dict.fromkeys(passthrough.METHODS, handler)


def _mount_enveloped(routes: Routes, parts: Parts) -> None:
    config = parts.config
    sync_routes = config.sync.all_routes if config.sync is not None else ()
    stream_routes = config.stream.all_routes if config.stream is not None else ()
    for route in dict.fromkeys(sync_routes + stream_routes):
        choice = by_stream_flag(
            _sync(parts, route) if route in sync_routes else None,
            _stream(parts, route) if route in stream_routes else None,
        )
        routes[route] = {"POST": _enveloped(parts, choice)}


def _enveloped(parts: Parts, choice: Choice) -> EnvelopedRoute:
    config = parts.config
    return EnvelopedRoute(parts.limiter, parts.readiness, config.max_body_bytes, config.idle_timeout_seconds, choice)


def _sync(parts: Parts, route: str) -> SyncForward:
    block = parts.config.sync
    assert block is not None
    return SyncForward(_server(parts, block), block, route, parts.config.max_body_bytes)


def _stream(parts: Parts, route: str) -> StreamForward:
    block = parts.config.stream
    assert block is not None
    config = parts.config
    return StreamForward(
        _server(parts, block), block, route, config.max_body_bytes, config.idle_timeout_seconds, parts.metrics.failure
    )


def _server(parts: Parts, block: Block) -> ModelServer:
    return ModelServer(parts.pool, block.user_hostname, block.user_port)
