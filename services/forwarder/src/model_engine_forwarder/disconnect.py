"""Stop working for a caller who is gone."""

import asyncio
from types import TracebackType
from typing import Self

from model_engine_chassis.asgi_server import Receive
from model_engine_forwarder.errors import ClientGone

WATCH_AFTER = 0.02
"""Seconds before the watch begins: most calls are over sooner and are spared its task."""


class CancelOnDisconnect:
    """A block that is cancelled, and then raises ClientGone, as soon as the caller closes its connection.

    Nothing else may call `receive` meanwhile: where the body of the request is still being read, the block is entered
    with `begin=False` and its reader calls `begin` at the end of the body.
    """

    def __init__(self, receive: Receive, *, begin: bool = True) -> None:
        self._receive = receive
        self._begin_at_once = begin
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None
        self._gone = False

    def __enter__(self) -> Self:
        owner = asyncio.current_task()
        assert owner is not None
        self._owner = owner
        self._cancelling = owner.cancelling()
        if self._begin_at_once:
            self.begin()
        return self

    def begin(self) -> None:
        """Start to watch."""
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER, self._start)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
        if self._gone and self._owner.uncancel() <= self._cancelling:
            raise ClientGone from error

    def _start(self) -> None:
        self._watch = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._owner.cancel()
