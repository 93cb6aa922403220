"""Cancelled tasks end: Python 3.11's `asyncio.wait_for` does not see to that, and is replaced here by 3.12's.

When the awaited future is done at the moment of the cancellation, 3.11 returns its result and the cancellation is lost
(CPython issue 96764, mended in 3.12 only). The clients of Redis and NATS wait for every answer that way, so a loop
around them would go on for ever, and the process with it.
"""

import asyncio
import sys
from typing import Any


def mend_wait_for() -> None:
    """Replace `asyncio.wait_for` for everything that this process imports."""
    if sys.version_info < (3, 12):
        asyncio.wait_for = wait_for


async def wait_for(fut: Any, timeout: float | None) -> Any:
    """The result of `fut`; raises TimeoutError after `timeout` seconds, with `fut` cancelled."""
    if timeout is not None and timeout <= 0:
        future = asyncio.ensure_future(fut)
        if not future.done():
            future.cancel()
            await asyncio.wait([future])
        if future.cancelled():
            raise TimeoutError
        return future.result()
    async with asyncio.timeout(timeout):
        return await fut
