"""Answers that stay open: events and logs. Bounded in number, kept alive by comments, cut when nobody reads them."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, Literal

from pymongo.errors import PyMongoError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from model_engine_chassis.asgi_server import abort_connection
from model_engine_gateway.errors import ApiError

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 15.0
WRITE_SECONDS = 10.0
"""A reader that takes nothing for so long is cut; the platform never waits longer for it, nor buffers for it."""


class LiveStreams:
    """All open streams of this process. After `close` they end, and new ones are refused."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running = 0
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End every stream, so that a drain need not wait for readers that never leave."""
        self._closing.set()

    def admit(self) -> None:
        """Raises ApiError 429 when no more streams may be opened."""
        if self._running >= self._limit or self._closing.is_set():
            raise ApiError(
                429, f"{self._running} streams are open. Please retry later.", "too_many_streams", {"retry-after": "5"}
            )

    def respond(
        self, pieces: AsyncGenerator[bytes, None], media_type: str, *, heartbeat: bytes | None = None
    ) -> Response:
        """An answer that sends each piece at once, and `heartbeat` after 15 s of silence; `admit` comes before."""
        return _LiveResponse(self, pieces, media_type, heartbeat)

    async def send(
        self,
        pieces: AsyncGenerator[bytes, None],
        heartbeat: bytes | None,
        receive: Receive,
        send: Send,
        cut: Callable[[], None],
    ) -> None:
        """Send the pieces until they end, the reader is gone or cut (by `cut`), or the process stops."""
        self._running += 1
        gone = asyncio.create_task(_disconnected(receive))
        closing = asyncio.create_task(self._closing.wait())
        try:
            async with aclosing(pieces):
                await _send_pieces(pieces, heartbeat, gone, closing, send)
            if not gone.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            log.info("a stream was cut: its reader is too slow")
            cut()
        except PyMongoError as error:
            log.warning("a stream was cut: the database did not answer: %r", error)
        finally:
            self._running -= 1
            await _cancel(gone, closing)


class _LiveResponse(Response):
    def __init__(
        self,
        streams: LiveStreams,
        pieces: AsyncGenerator[bytes, None],
        media_type: str,
        heartbeat: bytes | None,
    ) -> None:
        super().__init__(media_type=media_type, headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._streams = streams
        self._pieces = pieces
        self._heartbeat = heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send head and pieces."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await self._streams.send(self._pieces, self._heartbeat, receive, send, partial(abort_connection, scope))


async def _send_pieces(
    pieces: AsyncGenerator[bytes, None],
    heartbeat: bytes | None,
    gone: asyncio.Task[None],
    closing: asyncio.Task[Literal[True]],
    send: Send,
) -> None:
    """Raises TimeoutError where the reader takes nothing."""
    following = asyncio.create_task(_next(pieces))
    try:
        while True:
            done, _ = await asyncio.wait(
                {following, gone, closing}, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if gone in done:
                return
            piece = heartbeat
            if following in done:
                piece = following.result()
                if piece is None:
                    return
                following = asyncio.create_task(_next(pieces))
            elif closing in done:
                return
            if piece is not None:
                async with asyncio.timeout(WRITE_SECONDS):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
    finally:
        await _cancel(following)  # a generator that runs cannot be closed


async def _next(pieces: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(pieces, None)


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
