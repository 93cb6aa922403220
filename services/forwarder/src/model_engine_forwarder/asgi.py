"""The ASGI callable: routing, health, metrics, and what errors look like."""

import logging
import time
from collections.abc import Mapping
from typing import Protocol

from model_engine_chassis import trace
from model_engine_chassis.asgi_server import Receive, Scope, Send
from model_engine_chassis.upstream import UpstreamError
from model_engine_forwarder.errors import ClientGone, RequestError, model_server_failure, not_ready
from model_engine_forwarder.json_bytes import encode
from model_engine_forwarder.messages import Message, respond_json, traceparent
from model_engine_forwarder.metrics import CLIENT_GONE, Metrics
from model_engine_forwarder.readiness import Readiness

log = logging.getLogger(__name__)

_SERVER_ERROR = 500
_METRICS_TYPE = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


class Handler(Protocol):
    """Serves one request and returns the status it answered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> int: ...


class ForwarderApp:
    """Plain ASGI: everything the forwarder does over HTTP."""

    def __init__(self, routes: Mapping[str, Mapping[str, Handler]], readiness: Readiness, metrics: Metrics) -> None:
        self._routes = {
            **routes,
            "/livez": {"GET": self._alive},
            "/healthz": {"GET": self._alive},
            "/readyz": {"GET": self._ready},
            "/metrics": {"GET": self._expose},
        }
        self._forwarding = frozenset(routes)
        self._readiness = readiness
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"]
        started = time.perf_counter()
        if self._readiness.draining:
            send = _closing(send)
        status = _SERVER_ERROR
        try:
            status = await self._serve(path, scope, receive, send)
        except ClientGone:
            status = CLIENT_GONE
        finally:
            if path in self._forwarding:
                self._metrics.request(path, status, time.perf_counter() - started)

    async def _serve(self, path: str, scope: Scope, receive: Receive, send: Send) -> int:
        try:
            methods = self._routes.get(path)
            if methods is None:
                raise RequestError(404, {"detail": "Not Found"})
            handler = methods.get(scope["method"])
            if handler is None:
                allow = (b"allow", ", ".join(methods).encode())
                raise RequestError(405, {"detail": "Method Not Allowed"}, [allow])
            return await handler(scope, receive, send)
        except UpstreamError as error:
            if not error.sent:
                self._readiness.suspect()
            return await self._refuse(scope, send, model_server_failure(error))
        except RequestError as error:
            return await self._refuse(scope, send, error)

    async def _refuse(self, scope: Scope, send: Send, error: RequestError) -> int:
        if error.status >= _SERVER_ERROR:
            code = str(error.content.get("code"))
            self._metrics.failure(code)
            with trace.use(traceparent(scope)):  # without the error's text, which may quote the model server's answer
                log.warning("a call failed", extra={"route": scope["path"], "status": error.status, "code": code})
        return await respond_json(send, error.status, encode(error.content), error.headers)

    async def _alive(self, scope: Scope, receive: Receive, send: Send) -> int:
        return await respond_json(send, 200, b'"OK"')

    async def _ready(self, scope: Scope, receive: Receive, send: Send) -> int:
        problem = self._readiness.problem
        if problem is None:
            return await respond_json(send, 200, b'"OK"')
        refusal = not_ready(problem)
        return await respond_json(send, refusal.status, encode(refusal.content), refusal.headers)

    async def _expose(self, scope: Scope, receive: Receive, send: Send) -> int:
        await send({"type": "http.response.start", "status": 200, "headers": [_METRICS_TYPE]})
        await send({"type": "http.response.body", "body": self._metrics.render()})
        return 200


def _closing(send: Send) -> Send:
    """While draining, each answer tells its connection to end, so that the caller goes elsewhere with the next call."""

    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [header for header in message["headers"] if header[0] != b"connection"]
            message = {**message, "headers": [*kept, (b"connection", b"close")]}
        await send(message)

    return closing
