"""One HTTP/1.1 connection to an upstream: sends a request, parses its answer, with back-pressure both ways.

The parser is llhttp (by httptools). It refuses duplicate or contradicting lengths by itself; what it cannot know (the
method of the request, the end of a body that ends with the connection, limits) is decided here.
"""

import asyncio
import select
from collections import deque
from typing import cast

import httptools

from model_engine_chassis.upstream.errors import BadResponse, UpstreamClosed, UpstreamTimeout
from model_engine_chassis.upstream.limits import Limits

HIGH_WATER = 1 << 18
"""Bytes of an answer held here before reading from the upstream pauses."""

MAX_INTERIM_RESPONSES = 16

_SWITCHING_PROTOCOLS = 101
_FIRST_FINAL_STATUS = 200
_BODILESS = (204, 304)


class Connection(asyncio.Protocol):
    """Carries one exchange at a time: `begin`, `write`, `wait_head`, `next_chunk` until b"", then `begin` again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self._loop = loop
        self._limits = limits
        self._parser: httptools.HttpResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._chunks: deque[bytes] = deque()
        self._reading_paused = False
        self._is_head = False
        self._since_progress = 0
        self.transport: asyncio.Transport
        self.done = True
        self.keep_alive = False
        self.error: Exception | None = None
        self.idle_since = 0.0

    # --- one exchange -----------------------------------------------------------------------------------------------

    def begin(self, *, is_head: bool) -> None:
        """Make ready for the next request; `is_head` tells that its answer has no body whatever its headers say."""
        if self._parser is None or self._is_head:
            self._parser = httptools.HttpResponseParser(self)
        self._is_head = is_head
        self._size = 0
        self._interim = 0
        self._head_size = 0
        self._since_progress = 0
        self._framed = False
        self._until_eof = False
        self.headers: list[tuple[bytes, bytes]] = []
        self.status = 0
        self.sent = False
        self.answered = False
        self.done = False
        self.keep_alive = False

    def write(self, data: bytes) -> None:
        """Hand bytes of the request to the transport. Raises the exchange's error when it has failed already."""
        if self.error is not None:
            raise self.error
        if self.transport.is_closing():
            raise UpstreamClosed("the upstream closed the connection", sent=self.sent, answered=self.answered)
        self.sent = True
        self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the upstream takes more of the request. Raises UpstreamTimeout after the idle timeout."""
        writable = self._writable
        if writable is not None:
            timer = self._loop.call_later(self._limits.idle_timeout, self._expire, "the upstream takes no more data")
            try:
                await writable
            finally:
                timer.cancel()
        if self.error is not None:
            raise self.error

    def limit_head(self) -> None:
        """Fail the exchange unless its head arrives within the head timeout, from now on."""
        if not self.status and self.error is None:
            self._head_timer = self._loop.call_later(self._limits.head_timeout, self._expire, "the upstream is silent")

    async def wait_head(self) -> None:
        """Wait for status and headers of the answer. Raises the error of the exchange when it fails before that."""
        while not self.status:
            if self.error is not None:
                raise self.error
            await self._wait()

    async def next_chunk(self) -> bytes:
        """All bytes of the body at hand, or the next ones to come; b"" at its end.

        Raises UpstreamTimeout after the idle timeout, UpstreamClosed or BadResponse when the body breaks.
        """
        while not self._chunks:
            if self.error is not None:
                raise self.error
            if self.done:
                return b""
            timer = self._loop.call_later(self._limits.idle_timeout, self._expire, "the upstream fell silent")
            try:
                await self._wait()
            finally:
                timer.cancel()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        self._resume_reading()
        return data

    def fail(self, error: Exception) -> None:
        """End the exchange with `error` (its first one counts) and abort the connection."""
        if not self.done:
            self.error = error
        self.abort()
        self._finish()

    def abort(self) -> None:
        """Close at once, discarding what is buffered: a busy upstream notices that its caller is gone."""
        self.keep_alive = False
        self.transport.abort()

    # --- between exchanges ------------------------------------------------------------------------------------------

    def rest(self) -> bool:
        """End the exchange; True when the connection may carry another one."""
        self._finish_timers()
        reusable = self.done and self.keep_alive and self.error is None and not self.transport.is_closing()
        if reusable:
            self._chunks.clear()
            self._resume_reading()
            self.idle_since = self._loop.time()
        return reusable

    def is_fresh(self, oldest: float) -> bool:
        """Whether an idle connection may be used: idle since `oldest` (loop time) or later, and nothing to read.

        The poll sees an end that the event loop has not come round to yet.
        """
        return self.idle_since >= oldest and not self.transport.is_closing() and not self._poll.poll(0)

    # --- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's does not derive from asyncio's
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self.done:  # bytes that nobody asked for
            self.abort()
            return
        assert self._parser is not None
        self.answered = True
        self._since_progress += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fail(BadResponse(f"the answer is not valid HTTP/1.1: {error}", answered=True))
        if self._since_progress > self._limits.max_head_bytes and not self.done:  # an endless head or trailer
            self._fail_head_size()

    def eof_received(self) -> None:
        if self._until_eof and not self.done:
            self._finish()
        elif not self.done:
            self._fail_closed()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done:
            self._fail_closed()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # --- callbacks of the parser ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.done:  # a second answer to one request
            self.keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status:  # trailers are dropped
            return
        name = name.lower()
        self._head_size += len(name) + len(value)
        if name == b"content-length":
            self._framed = True
        elif name == b"transfer-encoding":
            self._framed = True
            if value.lower() != b"chunked":
                self.fail(BadResponse("the answer uses a transfer coding other than chunked", answered=True))
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if self._head_size > self._limits.max_head_bytes:
            self._fail_head_size()
        elif self.done:  # a header was refused
            pass
        elif status == _SWITCHING_PROTOCOLS:
            self.fail(BadResponse("the upstream switched protocols unasked", answered=True))
        elif status < _FIRST_FINAL_STATUS:
            self._interim += 1
            self.headers = []
            if self._interim > MAX_INTERIM_RESPONSES:
                self.fail(BadResponse("too many interim answers", answered=True))
        else:
            self.status = status
            self._since_progress = 0
            if self._is_head:
                self.keep_alive = self._parser.should_keep_alive()
                self._finish()
            else:
                self._until_eof = not self._framed and status not in _BODILESS
                self._wake()
            self._finish_timers()

    def on_body(self, data: bytes) -> None:
        if self.done:  # a body after HEAD
            self.keep_alive = False
            return
        self._since_progress = 0
        self._chunks.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER and not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        if self.status and not self.done:
            assert self._parser is not None
            self.keep_alive = self._parser.should_keep_alive()
            self._finish()

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _fail_head_size(self) -> None:
        self.fail(BadResponse(f"a head or trailer is longer than {self._limits.max_head_bytes} bytes", answered=True))

    def _resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def _fail_closed(self) -> None:
        self.fail(UpstreamClosed("the upstream closed the connection", sent=self.sent, answered=self.answered))

    def _expire(self, message: str) -> None:
        self.fail(UpstreamTimeout(message, sent=self.sent, answered=self.answered))

    def _finish(self) -> None:
        self.done = True
        self._finish_timers()
        self._wake()

    def _finish_timers(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
