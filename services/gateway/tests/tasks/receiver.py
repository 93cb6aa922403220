"""A receiver of callbacks: a real HTTP server that answers what a test says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from model_engine_chassis.asgi_server import Receive, Scope, Send, listen, serve_asgi


@dataclass
class Receiver:
    """`statuses` are answered in turn, then 200. `requests` holds headers and bodies."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    hold: asyncio.Event | None = None

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.requests.append((headers, body + message.get("body", b"")))
        if self.hold is not None:
            await self.hold.wait()
        status = self.statuses.pop(0) if self.statuses else 200
        sent: list[Any] = [(b"location", b"http://127.0.0.1:1/")] if status == 302 else []
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """The server runs within the block."""
    receiver, stop = Receiver(), asyncio.Event()
    listener = listen("127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    serving = asyncio.create_task(serve_asgi(receiver.app, listener, stop, drain_seconds=1))
    yield receiver
    stop.set()
    await serving
