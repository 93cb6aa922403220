"""The process: a listening port, the app on it, and a stop that loses no request."""

import asyncio
import logging
import os
import signal
import socket

from model_engine_chassis.asgi_server import listen, serve_asgi
from model_engine_chassis.lifecycle import run_until
from model_engine_forwarder.app import Forwarder
from model_engine_forwarder.errors import ConfigError

log = logging.getLogger(__name__)


def bind(host: str | None, port: int) -> socket.socket:
    """A listening socket on `host`, or without one on every IPv4 and IPv6 address. Raises ConfigError."""
    try:
        if host is not None:
            return listen(host, port)
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise ConfigError(f"cannot listen on {host or '*'}:{port}: {error.strerror or error}") from error


async def serve(forwarder: Forwarder, listener: socket.socket, graceful_timeout: float) -> None:
    """Serve until SIGTERM or SIGINT, then drain: readiness turns false at once, the port closes a little later, and
    what runs may end; all of this within `graceful_timeout` seconds. A second signal ends the process.
    """
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)
        log.info("draining")
        forwarder.readiness.draining = True
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    _quiet_uvicorn()
    log.info("listening", extra={"port": listener.getsockname()[1]})
    linger = min(forwarder.config.drain_delay_seconds, graceful_timeout / 2)
    drain = graceful_timeout - linger
    serving = [serve_asgi(forwarder.app, listener, stop, drain_seconds=drain, linger_seconds=linger)]
    if forwarder.run_tasks is not None:
        serving.append(forwarder.run_tasks(stop, graceful_timeout))
    await run_until(stop, forwarder.readiness.follow(), serving=serving)
    forwarder.pool.close()


def _quiet_uvicorn() -> None:
    """Keep uvicorn to warnings, and to those that say something new: a cut answer has been logged by its handler."""
    logger = logging.getLogger("uvicorn.error")
    logger.setLevel(logging.WARNING)
    logger.addFilter(lambda record: record.msg != "ASGI callable returned without completing response.")
