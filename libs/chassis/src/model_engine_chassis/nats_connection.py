"""The one way to connect to NATS, for the raw client and for FastStream alike.

The client gives up after a number of attempts by default and then blocks the event loop; here it never gives up.
"""

import logging
import random
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client as Nats

from model_engine_chassis.settings_base import NatsSettings

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
RECONNECT_SECONDS = 0.25
PENDING_BYTES = 32 << 20


def connection_options(settings: NatsSettings, name: str) -> dict[str, Any]:
    """Options of every connection: endless reconnects, pings, a bounded buffer, events in the log.

    The pause between attempts differs by process, so that not all of them knock at once. An outage is one line in the
    log for each kind of error, not one for each attempt.
    """
    reported: set[str] = set()

    async def on_disconnect() -> None:
        log.warning("NATS connection lost", extra={"connection": name})

    async def on_reconnect() -> None:
        reported.clear()
        log.info("NATS connection restored", extra={"connection": name})

    async def on_error(error: Exception) -> None:
        level = logging.DEBUG if type(error).__name__ in reported else logging.WARNING
        reported.add(type(error).__name__)
        log.log(level, "NATS error", extra={"connection": name, "error": str(error) or repr(error)})

    options: dict[str, Any] = {
        "servers": [url.strip() for url in settings.nats_url.split(",")],
        "name": f"{name}/{settings.instance_id}",
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": RECONNECT_SECONDS * random.uniform(0.75, 1.25),  # noqa: S311  # jitter, not a secret
        "connect_timeout": CONNECT_SECONDS,
        "ping_interval": 10,
        "max_outstanding_pings": 2,
        "pending_size": PENDING_BYTES,
        "disconnected_cb": on_disconnect,
        "reconnected_cb": on_reconnect,
        "error_cb": on_error,
    }
    if settings.nats_token is not None:
        options["token"] = settings.nats_token
    if settings.nats_credentials_file is not None:
        options["user_credentials"] = str(settings.nats_credentials_file)
    return options


async def connect(settings: NatsSettings, name: str) -> Nats:
    """A connection that heals itself; waits as long as it takes for the first one too."""
    return await nats.connect(**connection_options(settings, name))


async def disconnect(client: Nats) -> None:
    """Close a connection for good, also one whose server is gone."""
    try:
        await client.close()
    except (nats.errors.Error, OSError) as error:
        log.info("NATS connection closed without its server", extra={"error": repr(error)})
