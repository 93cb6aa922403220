"""Following a runtime for ever: its watch, opened again whenever it ends."""

import asyncio
import logging
from collections.abc import Callable
from typing import NoReturn

from model_engine_chassis.retry import backoff
from model_engine_runtime.errors import RuntimeProtocolError
from model_engine_runtime.protocol import Change, Runtime, Snapshot

log = logging.getLogger(__name__)


async def follow(
    runtime: Runtime, on_item: Callable[[Snapshot | Change], None], on_trouble: Callable[[str], None]
) -> NoReturn:
    """Give `on_item` everything that the watch says; what it has said stays true until it says otherwise.

    `on_trouble` is told why the watch ended; it is opened again after 0.1 to 5 s, and the next item, a Snapshot, means
    that the trouble is over.
    """
    attempt = 0
    while True:
        try:
            async for item in runtime.watch():
                attempt = 0
                on_item(item)
            trouble = "the watch ended"
        except RuntimeProtocolError as error:
            trouble = str(error)
        log.warning("runtime not watched", extra={"error": trouble})
        on_trouble(trouble)
        await asyncio.sleep(backoff(attempt, 0.1, 5.0))
        attempt += 1
