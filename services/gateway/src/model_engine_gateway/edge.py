"""Where every request arrives: predictions go to plain ASGI routes, health to health routes, all else to FastAPI."""

import logging
from collections.abc import Mapping, MutableMapping
from time import monotonic
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from model_engine_chassis import trace
from model_engine_chassis.asgi_server import AsgiApp, Receive, Scope, Send
from model_engine_chassis.health import Health
from model_engine_gateway.errors import overload_body

log = logging.getLogger(__name__)

REQUESTS = Counter(
    "modelengine_control_requests", "Control requests by route and status.", ["method", "route", "status"]
)
SECONDS = Histogram(
    "modelengine_control_request_seconds",
    "Duration of control requests.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
IN_FLIGHT = Gauge("modelengine_control_in_flight", "Control requests under way.")

_STREAMS = ("/events", "/logs")


class Edge:
    """The gateway as one ASGI callable. `plain` maps a path to the route of its POST, `prefixed` the beginning of paths
    of one more segment to the route of their GET.

    Beyond `limit` control requests at once it answers 429; health routes and streams have no part in that, and
    predictions a bound of their own.
    """

    def __init__(
        self,
        *,
        plain: Mapping[str, AsgiApp],
        prefixed: Mapping[str, AsgiApp],
        control: AsgiApp,
        health: Health,
        limit: int,
    ) -> None:
        self._plain = dict(plain)
        self._prefixed = dict(prefixed)
        self._control = control
        self._health = health
        self._limit = limit
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        route = self._plain_route(scope["method"], path)
        if route is not None:
            await route(scope, receive, send)
            return
        if path in ("/healthcheck", "/healthz"):
            await _respond_empty(send, 200)
        elif path == "/readyz" and b"verbose" not in scope["query_string"]:
            await _respond_empty(send, 503 if await self._health.failures() else 200)
        elif path in ("/readyz", "/livez", "/metrics"):
            await self._health.app(scope, receive, send)
        elif path.endswith(_STREAMS):
            await self._guarded(scope, receive, send)
        elif self._in_flight >= self._limit:
            await _respond(send, 429, overload_body(), ((b"retry-after", b"1"),))
        else:
            self._in_flight += 1
            IN_FLIGHT.set(self._in_flight)
            try:
                await self._guarded(scope, receive, send)
            finally:
                self._in_flight -= 1
                IN_FLIGHT.set(self._in_flight)

    def _plain_route(self, method: str, path: str) -> AsgiApp | None:
        if method == "POST":
            return self._plain.get(path)
        if method == "GET":
            for prefix, route in self._prefixed.items():
                if path.startswith(prefix) and "/" not in path[len(prefix) :] and len(path) > len(prefix):
                    return route
        return None

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a control request on in its trace, and measure it."""
        started, status = monotonic(), 0

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with trace.use(_traceparent(scope)):
            try:
                await self._control(scope, receive, watched)
            except Exception:
                # The application has answered already, and raises the error again for the log.
                log.exception("a control request failed unexpectedly", extra={"path": scope["path"]})
        route = getattr(scope.get("route"), "path", "unmatched")
        REQUESTS.labels(scope["method"], route, str(status)).inc()
        SECONDS.labels(scope["method"], route).observe(monotonic() - started)


def _traceparent(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"traceparent":
            return str(value, "latin-1")
    return None


async def _respond_empty(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def _respond(send: Send, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> None:
    fixed = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": body})
