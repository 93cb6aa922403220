"""A queue of names: each waits once however often it is added, and is with one worker at a time."""

import asyncio
from collections import deque

from prometheus_client import Gauge

DEPTH = Gauge("modelengine_builder_queue_depth", "Names that wait for a worker.", ["queue"])


class WorkQueue:
    """Bounded by the number of names there are. A name that is added while a worker has it comes again afterwards."""

    def __init__(self, name: str) -> None:
        self._depth = DEPTH.labels(name)
        self._ready: deque[str] = deque()
        self._waiting: set[str] = set()
        self._running: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()

    def add(self, name: str) -> None:
        """Let a worker have this name soon."""
        if name in self._waiting:
            return
        self._waiting.add(name)
        if name not in self._running:
            self._put(name)

    def add_after(self, name: str, seconds: float) -> None:
        """Let a worker have this name after so long, or earlier if it was to come earlier already."""
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        timer = self._timers.get(name)
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[name] = loop.call_at(due, self._fire, name)

    async def get(self) -> str:
        """The next name; `done` must follow."""
        while not self._ready:
            self._wake.clear()
            await self._wake.wait()
        name = self._ready.popleft()
        self._waiting.discard(name)
        self._running.add(name)
        self._depth.set(len(self._ready))
        return name

    def done(self, name: str) -> None:
        """The worker has finished with this name."""
        self._running.discard(name)
        if name in self._waiting:
            self._put(name)

    def _put(self, name: str) -> None:
        self._ready.append(name)
        self._depth.set(len(self._ready))
        self._wake.set()

    def _fire(self, name: str) -> None:
        del self._timers[name]
        self.add(name)
