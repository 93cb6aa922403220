"""A pool of keep-alive connections to any number of upstreams, each bounded in connections and in waiting callers."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from model_engine_chassis.limiter import Limiter, LimitReached
from model_engine_chassis.upstream.connection import Connection
from model_engine_chassis.upstream.errors import ConnectFailed, TooManyConnections
from model_engine_chassis.upstream.exchange import Exchange
from model_engine_chassis.upstream.limits import Limits


class Upstream:
    """The connections to one host and port. At most `max_connections` are open, idle ones included."""

    def __init__(self, host: str, port: int, limits: Limits) -> None:
        self.host = host
        self.port = port
        self.limits = limits
        self.idle: list[Connection] = []
        self.slots = Limiter(
            limits.max_connections, max_waiting=limits.max_waiting, wait_seconds=limits.connect_timeout
        )
        self.host_header = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()

    async def take_slot(self) -> None:
        """Reserve the right to one connection; `slots.release` gives it back. Raises TooManyConnections."""
        try:
            await self.slots.acquire()
        except LimitReached as error:
            where, limits = f"{self.host}:{self.port}", self.limits
            if error.waited:
                reason = f"all {limits.max_connections} stayed busy for {limits.connect_timeout:g} s"
            else:
                reason = f"{limits.max_waiting} callers wait for one already"
            raise TooManyConnections(f"no connection to {where}: {reason}") from error

    def pop_idle(self) -> Connection | None:
        """The idle connection used last, or None; stale ones are closed on the way."""
        oldest = asyncio.get_running_loop().time() - self.limits.keep_alive
        while self.idle:
            connection = self.idle.pop()
            if connection.is_fresh(oldest):
                return connection
            connection.abort()
        return None

    async def connect(self) -> Connection:
        """Open a connection. Raises ConnectFailed."""
        loop = asyncio.get_running_loop()
        limits = self.limits
        where = f"{self.host}:{self.port}"
        try:
            async with asyncio.timeout(limits.connect_timeout):
                _, connection = await loop.create_connection(lambda: Connection(loop, limits), self.host, self.port)
        except TimeoutError as error:
            raise ConnectFailed(f"{where} did not accept within {limits.connect_timeout:g} s") from error
        except OSError as error:
            raise ConnectFailed(f"{where} cannot be reached: {error}") from error
        return connection

    def reap(self, oldest: float) -> None:
        """Close connections that are idle since before `oldest` (loop time) or lost."""
        kept = []
        for connection in self.idle:
            if connection.is_fresh(oldest):
                kept.append(connection)
            else:
                connection.abort()
        self.idle = kept


class UpstreamPool:
    """The HTTP/1.1 client of gateway and forwarder. One pool serves one event loop.

    Times in seconds. Each upstream (host and port) has at most `max_connections` connections, for which at most
    `max_waiting` callers wait; that wait, like the connecting itself, ends after `connect_timeout`. `head_timeout` runs
    from the end of the request to the head of the answer, `idle_timeout` between two pieces of either body.
    `keep_alive` is how long an idle connection is kept: below the upstream's own, lest it be closed just as it is used.

    Example::

        async with pool.request("localhost", 5005, b"POST", b"/predict", headers, body) as answer:
            answer.status, answer.headers, await answer.read(limit)
    """

    def __init__(
        self,
        *,
        max_connections: int = 512,
        max_waiting: int = 1024,
        connect_timeout: float = 5.0,
        head_timeout: float = 300.0,
        idle_timeout: float = 300.0,
        keep_alive: float = 1.5,
        max_head_bytes: int = 1 << 16,
    ) -> None:
        self.limits = Limits(
            max_connections, max_waiting, connect_timeout, head_timeout, idle_timeout, keep_alive, max_head_bytes
        )
        self._upstreams: dict[tuple[str, int], Upstream] = {}
        self._reaper: asyncio.TimerHandle | None = None

    def request(
        self,
        host: str,
        port: int,
        method: bytes,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes | AsyncIterator[bytes] = b"",
    ) -> Exchange:
        """An async context manager that sends one request and yields its answer once status and headers are there.

        `target` is the raw path with its query. `headers` has lower-case names, without framing and connection headers;
        `host` is added. A body given as an iterator is sent as it comes while the answer is read: with `content-length`
        when the headers have one, else chunked. Leaving the block before the end of the answer aborts the connection.

        A kept connection that turns out closed before any byte of the answer came is replaced by a fresh one once, if
        nothing was sent or the method is idempotent by RFC 9110 section 9.2.2, and the body is bytes. A POST that was
        sent is never repeated here.

        Raises UpstreamError, and whatever the iterator of the body raises.
        """
        upstream = self._upstreams.get((host, port))
        if upstream is None:
            upstream = self._upstreams[host, port] = Upstream(host, port, self.limits)
        if self._reaper is None:
            self._schedule_reaper()
        return Exchange(upstream, method, target, headers, body)

    def close(self) -> None:
        """Abort every idle connection and stop reaping; running exchanges end on their own."""
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        for upstream in self._upstreams.values():
            upstream.reap(float("inf"))

    def _schedule_reaper(self) -> None:
        self._reaper = asyncio.get_running_loop().call_later(self.limits.keep_alive, self._reap)

    def _reap(self) -> None:
        self._reaper = None
        oldest = asyncio.get_running_loop().time() - self.limits.keep_alive
        for key, upstream in list(self._upstreams.items()):
            upstream.reap(oldest)
            if not upstream.idle and not upstream.slots.running:
                del self._upstreams[key]
        if self._upstreams:
            self._schedule_reaper()
