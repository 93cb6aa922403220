"""A bound on what runs at once, never exceeded, with a bounded queue in front of it."""

import asyncio
import contextlib
from collections import deque


class LimitReached(Exception):
    """The bound is reached and the queue is full, or a waiter's deadline passed (`waited`)."""

    def __init__(self, waited: bool) -> None:
        super().__init__("no place became free in time" if waited else "no place is free and the queue is full")
        self.waited = waited


class Limiter:
    """At most `limit` holders at once; `max_waiting` more may wait, in order, for at most `wait_seconds` each."""

    def __init__(self, limit: int, *, max_waiting: int = 0, wait_seconds: float = 0.0) -> None:
        self.limit = limit
        self.running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._max_waiting = max_waiting
        self._wait_seconds = wait_seconds

    async def acquire(self) -> None:
        """Take a place, to be given back with `release`. Raises LimitReached."""
        if self.running < self.limit:
            self.running += 1
            return
        if len(self._waiting) >= self._max_waiting:
            raise LimitReached(waited=False)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # the place was handed over just as the wait ended
                self.release()
            else:
                with contextlib.suppress(ValueError):  # `release` may have passed it over already
                    self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise LimitReached(waited=True) from error
            raise

    def release(self) -> None:
        """Hand the place to whoever waits longest, else give it back."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1
