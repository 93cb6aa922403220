"""Serving an ASGI app until told to stop: uvicorn without signal handlers of its own, drained with a bound."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


ABORT = "model_engine.abort"


def abort_connection(scope: Scope) -> None:
    """Cut the connection of a request at once, whatever of its answer is still unsent.

    An answer that just ends leaves its connection open until the peer has read all that is buffered, which a peer that
    reads nothing never does.
    """
    scope["extensions"][ABORT]["abort"]()


class _Protocol(HttpToolsProtocol):
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the lifecycle, not to one of several servers in the process."""
        yield


def listen(host: str, port: int, *, reuse_port: bool = False, backlog: int = 2048) -> socket.socket:
    """A listening socket. `reuse_port` lets several processes share the port (SO_REUSEPORT).

    Raises OSError where the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio switches Nagle's delay off (40 ms per answer) only where it is.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


async def serve_asgi(
    app: AsgiApp,
    listener: socket.socket,
    stop: asyncio.Event,
    *,
    drain_seconds: float = 10.0,
    linger_seconds: float = 0.0,
    keep_alive: int = 75,
) -> None:
    """Serve `app` on `listener` until `stop` is set, then let running requests finish for `drain_seconds` at most.

    The port stays open for `linger_seconds` after `stop`, less when no connection is left: callers need that time to
    see that readiness fell, and to leave connections that are closed then.

    When cancelled, it cancels the running requests too.
    """
    config = uvicorn.Config(
        app,
        loop="none",
        http=_Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        proxy_headers=False,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=max(1, round(drain_seconds)),
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await _linger(server, linger_seconds)
    except asyncio.CancelledError:
        server.force_exit = True
        # With nothing to cancel there is nothing to wait for either, and no error to log.
        config.timeout_graceful_shutdown = 0 if server.server_state.tasks else 1
        raise
    finally:
        stopping.cancel()
        server.should_exit = True
        await serving
        listener.close()


async def _linger(server: uvicorn.Server, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while server.server_state.connections and not server.should_exit and loop.time() < deadline:
        await asyncio.sleep(0.05)
