"""Many small writes become few large ones: whatever comes within a few milliseconds shares one flush."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

ItemT = TypeVar("ItemT")


class _Batch(Generic[ItemT]):
    __slots__ = ("done", "items")

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.items: list[ItemT] = []
        self.done = done


class MicroBatcher(Generic[ItemT]):
    """Hands items to `flush` in batches, `delay` seconds after the first of each at the latest.

    At most `max_items` share a batch and `max_flushes` flushes run at once; callers wait for theirs, so the bound on
    callers bounds the memory.
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
        self._turns = asyncio.Semaphore(max_flushes)
        self._filling: _Batch[ItemT] | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def add(self, item: ItemT) -> None:
        """Return when the item is flushed. Raises what its flush raised."""
        await asyncio.shield(self._enqueue(item).done)

    def add_nowait(self, item: ItemT) -> None:
        """Flush the item in time; when its flush fails that is logged, and nothing else."""
        self._enqueue(item)

    def _enqueue(self, item: ItemT) -> _Batch[ItemT]:
        loop = asyncio.get_running_loop()
        batch = self._filling
        if batch is None:
            batch = self._filling = _Batch(loop.create_future())
            loop.call_later(self._delay, self._begin, batch)
        batch.items.append(item)
        if len(batch.items) >= self._max_items:
            self._begin(batch)
        return batch

    async def close(self) -> None:
        """Flush what is there and wait for every flush."""
        if self._filling is not None:
            self._begin(self._filling)
        if self._running:
            await asyncio.wait(self._running)

    def _begin(self, batch: _Batch[ItemT]) -> None:
        if self._filling is not batch:
            return  # it was full before its time
        self._filling = None
        task = asyncio.create_task(self._run(batch))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, batch: _Batch[ItemT]) -> None:
        try:
            async with self._turns:
                await self._flush(batch.items)
        except BaseException as error:
            batch.done.set_exception(error if isinstance(error, Exception) else RuntimeError("the flush was cancelled"))
            batch.done.exception()  # seen, whether a caller waits or not
            log.warning("a batch of %d writes failed: %r", len(batch.items), error)
            if not isinstance(error, Exception):
                raise
        else:
            batch.done.set_result(None)
