"""Many small writes become few large ones: whatever comes within a few milliseconds shares one flush."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

ItemT = TypeVar("ItemT")


class _Batch(Generic[ItemT]):
    __slots__ = ("done", "is_due", "items")

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.items: list[ItemT] = []
        self.is_due = False
        self.done = done


class MicroBatcher(Generic[ItemT]):
    """Hands items to `flush` in batches, `delay` seconds after the first of each, or later while all flushes are busy.

    At most `max_items` share a batch and `max_flushes` flushes run at once: the slower they are, the larger the batches
    become. Callers wait for theirs, so the bound on callers bounds the memory.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[ItemT]], Awaitable[None]],
        *,
        delay: float = 0.002,
        max_items: int = 500,
        max_flushes: int = 4,
    ) -> None:
        self._flush = flush
        self._delay = delay
        self._max_items = max_items
        self._max_flushes = max_flushes
        self._filling: _Batch[ItemT] | None = None
        self._full: deque[_Batch[ItemT]] = deque()
        self._running: set[asyncio.Task[None]] = set()

    async def add(self, item: ItemT) -> None:
        """Return when the item is flushed. Raises what its flush raised."""
        await asyncio.shield(self._enqueue(item).done)

    def add_nowait(self, item: ItemT) -> None:
        """Flush the item in time; when its flush fails that is logged, and nothing else."""
        self._enqueue(item)

    async def close(self) -> None:
        """Flush what is there and wait for every flush."""
        if self._filling is not None:
            self._become_due(self._filling)
        while self._running:
            await asyncio.wait(self._running)

    def _enqueue(self, item: ItemT) -> _Batch[ItemT]:
        batch = self._filling
        if batch is None:
            loop = asyncio.get_running_loop()
            batch = self._filling = _Batch(loop.create_future())
            loop.call_later(self._delay, self._become_due, batch)
        batch.items.append(item)
        if len(batch.items) >= self._max_items:
            self._filling = None
            self._full.append(batch)
            self._begin()
        return batch

    def _become_due(self, batch: _Batch[ItemT]) -> None:
        batch.is_due = True
        self._begin()

    def _begin(self) -> None:
        """Start as many flushes as may run."""
        while len(self._running) < self._max_flushes:
            if self._full:
                batch = self._full.popleft()
            elif self._filling is not None and self._filling.is_due:
                batch, self._filling = self._filling, None
            else:
                return
            task = asyncio.create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._begin()

    async def _run(self, batch: _Batch[ItemT]) -> None:
        try:
            await self._flush(batch.items)
        except BaseException as error:
            batch.done.set_exception(error if isinstance(error, Exception) else RuntimeError("the flush was cancelled"))
            batch.done.exception()  # seen, whether a caller waits or not
            log.warning("a batch of %d writes failed: %r", len(batch.items), error)
            if not isinstance(error, Exception):
                raise
        else:
            batch.done.set_result(None)
