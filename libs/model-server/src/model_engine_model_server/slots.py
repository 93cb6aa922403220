"""Turns for calls of the predict function: so many at once, so many waiting, each on a thread of its own.

A slot is one thread. A call, and every step of a generator that it returned, runs on the thread of its slot, because
user code may hold thread-local state across a `yield` (torch.no_grad, sqlite3). Threads cannot be interrupted: a slot
whose caller has gone is given back only when its thread is idle again.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class TooManyRequestsError(Exception):
    """Every slot is taken and the queue is full."""


class Slot:
    """One thread that a call owns while it runs."""

    def __init__(self, number: int) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"predict-{number}")
        self._last: Future[Any] | None = None

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call the function on the slot's thread; after a cancellation it still runs to its end."""
        future = self._executor.submit(function, *arguments)
        self._last = future
        return await asyncio.wrap_future(future)

    def run_later(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call the function after whatever the thread is doing, without waiting for it."""
        self._last = self._executor.submit(function, *arguments)

    def when_idle(self, then: Callable[[], object]) -> None:
        """Call `then` now if the thread is idle, else on the thread once it is."""
        if self._last is None or self._last.done():
            then()
        else:
            self._last.add_done_callback(lambda _: then())


class Slots:
    """`concurrency` slots, and a queue of at most `queue_size` calls that wait for one."""

    def __init__(self, concurrency: int, queue_size: int) -> None:
        self._idle = [Slot(number) for number in range(concurrency)]
        self._free = asyncio.Semaphore(concurrency)
        self._concurrency = concurrency
        self._queue_size = queue_size
        self._waiting = 0

    @property
    def busy(self) -> int:
        """How many slots are taken, those included whose caller has gone."""
        return self._concurrency - len(self._idle)

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Slot]:
        """A slot, after waiting for one in order of arrival; raises TooManyRequestsError when the queue is full."""
        if self._free.locked() and self._waiting >= self._queue_size:
            raise TooManyRequestsError
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        slot = self._idle.pop()
        loop = asyncio.get_running_loop()
        try:
            yield slot
        finally:
            slot.when_idle(functools.partial(loop.call_soon_threadsafe, self._give_back, slot))

    def _give_back(self, slot: Slot) -> None:
        self._idle.append(slot)
        self._free.release()
