"""Helpers for tests: waiting on a condition instead of for a time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from model_engine_local.ports import free_port

__all__ = ["eventually", "free_port", "wait_until"]

T = TypeVar("T")


async def eventually(condition: Callable[[], T | Awaitable[T]], timeout: float = 10.0, interval: float = 0.02) -> T:
    """The first truthy value of `condition`, polled for `timeout` seconds at most.

    Raises AssertionError with the last value, or the last AssertionError that `condition` itself raised.
    """
    deadline = time.monotonic() + timeout
    while True:
        problem: AssertionError | None = None
        value: T | None = None
        try:
            found = condition()
            value = await found if inspect.isawaitable(found) else found
            if value:
                return value
        except AssertionError as error:
            problem = error
        if time.monotonic() > deadline:
            raise problem or AssertionError(f"still {value!r} after {timeout:g} s")
        await asyncio.sleep(interval)


def wait_until(condition: Callable[[], T], timeout: float = 20.0, interval: float = 0.01) -> T:
    """`eventually` for tests that are not coroutines."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {value!r} after {timeout:g} s")
        time.sleep(interval)
    return value
