"""One request and its answer over a connection of the pool."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from model_engine_chassis.upstream.connection import Connection
from model_engine_chassis.upstream.errors import BodyTooLarge, UpstreamClosed

if TYPE_CHECKING:
    from model_engine_chassis.upstream.pool import Upstream

IDEMPOTENT_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))

_BODILESS_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"DELETE"))
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_TARGET = re.compile(rb"[\x21-\x7e\x80-\xff]+").fullmatch
_LINE_BREAK = re.compile(rb"[\r\n\x00]").search


class Exchange:
    """An async context manager; inside it `status`, `headers` (lower-case names, repeats kept) and the body."""

    __slots__ = ("_body", "_connection", "_head", "_length", "_method", "_pump", "_upstream")

    def __init__(
        self,
        upstream: "Upstream",
        method: bytes,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes],
    ) -> None:
        self._upstream = upstream
        self._method = method
        self._body = body
        self._length: int | None = None
        self._head = self._render_head(target, headers)
        self._connection: Connection
        self._pump: asyncio.Task[None] | None = None

    @property
    def status(self) -> int:
        """The status code of the answer."""
        return self._connection.status

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the answer in their order, names in lower case, trailers left out."""
        return self._connection.headers

    async def body(self) -> AsyncIterator[bytes]:
        """The body in pieces as they come; never an empty one."""
        while chunk := await self._connection.next_chunk():
            yield chunk

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises BodyTooLarge when it is longer than `limit` bytes."""
        chunks: list[bytes] = []
        size = 0
        while chunk := await self._connection.next_chunk():
            size += len(chunk)
            if size > limit:
                raise BodyTooLarge(f"the answer is longer than {limit} bytes", answered=True)
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def __aenter__(self) -> Self:
        upstream = self._upstream
        await upstream.take_slot()
        try:
            kept = upstream.pop_idle()
            try:
                await self._converse(kept or await upstream.connect())
            except UpstreamClosed as error:
                if kept is None or not self._may_resend(error):
                    raise
                await self._converse(await upstream.connect())
        except BaseException:
            self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    async def _converse(self, connection: Connection) -> None:
        self._connection = connection
        connection.begin(is_head=self._method == b"HEAD")
        if isinstance(self._body, bytes):
            connection.write(self._head + self._body)
            connection.limit_head()
        else:
            connection.write(self._head)
            self._pump = asyncio.create_task(self._send_body(connection, self._body))
            self._pump.add_done_callback(self._pumped)
        await connection.wait_head()

    async def _send_body(self, connection: Connection, body: AsyncIterator[bytes]) -> None:
        left = self._length
        async for piece in body:
            if not piece:
                continue
            if left is None:
                connection.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            else:
                left -= len(piece)
                if left < 0:
                    break
                connection.write(piece)
            await connection.drain()
        if left is None:
            connection.write(b"0\r\n\r\n")
        elif left:
            raise ValueError("the body of the request does not have the length that its content-length says")
        connection.limit_head()

    def _pumped(self, pump: asyncio.Task[None]) -> None:
        if not pump.cancelled() and isinstance(error := pump.exception(), Exception):
            self._connection.fail(error)

    def _leave(self) -> None:
        """Give the connection back when the exchange is whole, else abort it; then free the slot."""
        pump = self._pump
        sent_whole = pump is None or (pump.done() and not pump.cancelled() and pump.exception() is None)
        if pump is not None:
            pump.cancel()
        connection = getattr(self, "_connection", None)
        if connection is not None:
            if connection.rest() and sent_whole:
                self._upstream.idle.append(connection)
            else:
                connection.abort()
        self._upstream.slots.release()

    def _may_resend(self, error: UpstreamClosed) -> bool:
        if error.answered or not isinstance(self._body, bytes):
            return False
        return not error.sent or self._method in IDEMPOTENT_METHODS

    def _render_head(self, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        if not _TARGET(target):
            raise ValueError(f"{target!r} cannot stand in a request line")
        if not _TOKEN(self._method):
            raise ValueError(f"{self._method!r} is not an HTTP method")
        lines = [self._method, b" ", target, b" HTTP/1.1\r\nhost: ", self._upstream.host_header, b"\r\n"]
        for name, value in headers:
            if name == b"content-length":
                self._length = int(value)
                continue
            if _LINE_BREAK(value) or not _TOKEN(name):
                raise ValueError(f"header {name!r} has a name or value that cannot be sent")
            lines += (name, b": ", value, b"\r\n")
        if isinstance(self._body, bytes):
            if self._body or self._method not in _BODILESS_METHODS:
                lines.append(b"content-length: %d\r\n" % len(self._body))
        elif self._length is None:
            lines.append(b"transfer-encoding: chunked\r\n")
        else:
            lines.append(b"content-length: %d\r\n" % self._length)
        lines.append(b"\r\n")
        return b"".join(lines)
