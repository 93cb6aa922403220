"""Requests that wait for a worker: bounded in number and bytes per endpoint and in bytes over all, woken by changes."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class HoldFull(Exception):
    """No more requests may wait for this endpoint now."""


class HoldClosed(Exception):
    """This process is shutting down and holds no requests any more; none of the held ones was sent anywhere."""


@dataclass(slots=True)
class _Queue:
    requests: int = 0
    size: int = 0
    version: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class HoldQueue:
    """One queue per endpoint with waiting requests. Sizes in bytes."""

    def __init__(self, *, max_requests: int, max_bytes: int, max_total_bytes: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._max_total_bytes = max_total_bytes
        self._queues: dict[str, _Queue] = {}
        self._total = 0
        self._closed = False

    @contextmanager
    def place(self, endpoint_id: str, size: int) -> Iterator["Place"]:
        """Occupy a place while the block runs. Raises HoldFull or HoldClosed."""
        if self._closed:
            raise HoldClosed
        queue = self._queues.get(endpoint_id) or _Queue()
        if queue.requests >= self._max_requests:
            raise HoldFull(f"{queue.requests} requests wait for a worker of this endpoint already")
        if queue.size + size > self._max_bytes or self._total + size > self._max_total_bytes:
            raise HoldFull("the requests that wait for a worker hold as many bytes as they may")
        self._queues[endpoint_id] = queue
        queue.requests += 1
        queue.size += size
        self._total += size
        try:
            yield Place(self, queue)
        finally:
            queue.requests -= 1
            queue.size -= size
            self._total -= size
            if not queue.requests:
                del self._queues[endpoint_id]

    @property
    def closed(self) -> bool:
        """Whether the process holds no requests any more."""
        return self._closed

    def notify(self, endpoint_id: str) -> None:
        """Wake every request that waits for this endpoint."""
        if (queue := self._queues.get(endpoint_id)) is not None:
            queue.version += 1
            queue.changed.set()
            queue.changed = asyncio.Event()

    def waiting(self) -> dict[str, int]:
        """The endpoints that requests wait for, and how many do."""
        return {endpoint_id: queue.requests for endpoint_id, queue in self._queues.items()}

    def close(self) -> None:
        """Send every waiting request away, and each later one."""
        self._closed = True
        for endpoint_id in self._queues:
            self.notify(endpoint_id)


class Place:
    """The place of one request; it remembers which changes it has seen, so none is missed between two waits."""

    def __init__(self, hold: HoldQueue, queue: _Queue) -> None:
        self._hold = hold
        self._queue = queue
        self._seen = queue.version

    async def changed(self, patience: float) -> None:
        """Wait for a change of the endpoint since the last call, at most `patience` seconds. Raises HoldClosed."""
        if self._queue.version == self._seen:
            try:
                async with asyncio.timeout(patience):
                    await self._queue.changed.wait()
            except TimeoutError:
                return
        self._seen = self._queue.version
        if self._hold.closed:
            raise HoldClosed
