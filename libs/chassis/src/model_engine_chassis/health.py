"""Health: whether the process lives, whether it can do its work and why not, and its metrics."""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from model_engine_chassis.asgi_server import Receive, Scope, Send, listen, serve_asgi

log = logging.getLogger(__name__)

CHECK_SECONDS = 2.0
Check = Callable[[], Any]
"""Returns an awaitable. Not typed so, because the Redis client types its commands as awaitable or not."""


@dataclass(slots=True)
class Health:
    """The checks of one process. `ready` is switched off when it drains, so that nobody sends it new work."""

    ready: bool = True
    checks: dict[str, Check] = field(default_factory=dict)

    def add_check(self, name: str, check: Check) -> None:
        """`check` raises when the dependency is not usable; it is given two seconds."""
        self.checks[name] = check

    async def failures(self) -> dict[str, str]:
        """What is wrong now, by the name of its check; empty when the process is ready."""
        names = list(self.checks)
        results = await asyncio.gather(*(self._run(self.checks[name]) for name in names))
        failed = {name: problem for name, problem in zip(names, results, strict=True) if problem}
        return failed if self.ready else failed | {"drain": "the process is stopping"}

    async def _run(self, check: Check) -> str:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await check()
        except TimeoutError:
            return f"no answer within {CHECK_SECONDS:g} s"
        except Exception as error:  # noqa: BLE001  # whatever a check raises is its report
            return str(error) or type(error).__name__
        return ""

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: /livez, /readyz (?verbose), /healthz, /metrics."""
        path = scope["path"] if scope["type"] == "http" else None
        if path in ("/livez", "/healthz"):
            await respond(send, 200, b"ok", b"text/plain")
        elif path == "/readyz":
            await self.respond_ready(scope, send)
        elif path == "/metrics":
            await respond(send, 200, generate_latest(), CONTENT_TYPE_LATEST.encode())
        elif path is not None:
            await respond(send, 404, b'{"detail":"Not Found"}', b"application/json")

    async def respond_ready(self, scope: Scope, send: Send) -> None:
        """200 when ready, else 503; `?verbose` lists every check with its state."""
        failed = await self.failures()
        status = 503 if failed else 200
        if b"verbose" not in scope.get("query_string", b""):
            await respond(send, status, b"not ready" if failed else b"ok", b"text/plain")
            return
        names = [*self.checks, *(name for name in failed if name not in self.checks)]
        body = {name: failed.get(name, "ok") for name in names}
        await respond(send, status, json.dumps({"ready": not failed, "checks": body}).encode(), b"application/json")


async def respond(send: Send, status: int, body: bytes, content_type: bytes) -> None:
    """Send one whole response."""
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def serve_health(health: Health, host: str, port: int, stop: asyncio.Event) -> None:
    """Serve the health routes until cancelled; the chosen port is logged. When `stop` is set, ready turns false.

    It goes on during the drain, so that whoever asks learns why: give it to `run_until` as a background coroutine.
    """
    listener = listen(host, port)
    log.info("health server listens", extra={"host": host, "port": listener.getsockname()[1]})
    async with asyncio.TaskGroup() as group:
        server = group.create_task(serve_asgi(health.app, listener, asyncio.Event()))
        await stop.wait()
        health.ready = False
        await server
