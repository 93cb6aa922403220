"""Reuse, bounds, staleness, cancellation and streamed requests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from model_engine_chassis.upstream import TooManyConnections, UpstreamClosed, UpstreamPool

Serve = Callable[..., Awaitable]  # the fixture of conftest.py

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def fetch(pool: UpstreamPool, port: int, method: bytes = b"GET", body=b"", headers=()) -> bytes:
    async with pool.request("127.0.0.1", port, method, b"/", headers, body) as exchange:
        return await exchange.read(1 << 20)


async def test_request_bytes(serve: Serve, pool: UpstreamPool) -> None:
    seen = []

    async def script(peer) -> None:
        while True:
            seen.append(await peer.request())
            await peer.send(OK)

    server = await serve(script)
    host = b"host: 127.0.0.1:%d\r\n" % server.port
    await fetch(pool, server.port)
    await fetch(pool, server.port, b"POST", b"", [(b"a", b"1")])
    await fetch(pool, server.port, b"POST", b"xy")
    assert seen == [
        b"GET / HTTP/1.1\r\n" + host + b"\r\n",
        b"POST / HTTP/1.1\r\n" + host + b"a: 1\r\ncontent-length: 0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + host + b"content-length: 2\r\n\r\nxy",
    ]


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        (b"GET", b"/a b", []),
        (b"GET", b"/\r\nx: 1", []),
        (b"GET /", b"/", []),
        (b"GET", b"/", [(b"x", b"1\r\ny: 2")]),
        (b"GET", b"/", [(b"x: 1\r\ny", b"2")]),
    ],
)
async def test_nothing_can_be_smuggled_into_the_head(pool: UpstreamPool, method, target, headers) -> None:
    with pytest.raises(ValueError, match=r"cannot|not an HTTP method"):
        pool.request("127.0.0.1", 1, method, target, headers)


async def test_never_more_connections_than_the_bound(serve: Serve) -> None:
    pool = UpstreamPool(max_connections=3)
    running = peak = 0

    async def script(peer) -> None:
        nonlocal running, peak
        while True:
            await peer.request()
            running += 1
            peak = max(peak, running)
            await asyncio.sleep(0)
            running -= 1
            await peer.send(OK)

    server = await serve(script)
    assert await asyncio.gather(*(fetch(pool, server.port) for _ in range(50))) == [b"ok"] * 50
    assert peak <= 3
    assert server.accepted <= 3
    pool.close()


async def test_waiting_for_a_connection_is_bounded(serve: Serve) -> None:
    pool = UpstreamPool(max_connections=1, max_waiting=1, connect_timeout=0.2)

    async def script(peer) -> None:
        await peer.request()
        await peer.gone()

    server = await serve(script)
    holder = asyncio.create_task(fetch(pool, server.port))
    await asyncio.sleep(0)
    waiter = asyncio.create_task(fetch(pool, server.port))
    await asyncio.sleep(0)
    with pytest.raises(TooManyConnections, match="wait"):
        await fetch(pool, server.port)
    with pytest.raises(TooManyConnections, match="busy") as caught:
        await waiter
    assert not caught.value.sent
    holder.cancel()
    await asyncio.gather(holder, return_exceptions=True)
    pool.close()


async def test_a_cancelled_waiter_leaves_no_hole(serve: Serve) -> None:
    pool = UpstreamPool(max_connections=1)
    release = asyncio.Event()

    async def script(peer) -> None:
        while True:
            await peer.request()
            await release.wait()
            await peer.send(OK)

    server = await serve(script)
    calls = [asyncio.create_task(fetch(pool, server.port)) for _ in range(4)]
    await asyncio.sleep(0)
    calls[1].cancel()
    calls[2].cancel()
    release.set()
    assert await calls[0] == b"ok"
    assert await calls[3] == b"ok"
    assert await fetch(pool, server.port) == b"ok"
    pool.close()


@pytest.mark.parametrize("when", ["before the head", "within the body"])
async def test_cancelling_aborts_the_connection(serve: Serve, pool: UpstreamPool, when: str) -> None:
    reached, gone = asyncio.Event(), asyncio.Event()

    async def script(peer) -> None:
        await peer.request()
        if when == "within the body":
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\npart")
        reached.set()
        await peer.gone()
        gone.set()

    server = await serve(script)
    call = asyncio.create_task(fetch(pool, server.port))
    await reached.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(gone.wait(), 5)


async def test_leaving_early_aborts_the_connection(serve: Serve, pool: UpstreamPool) -> None:
    gone = asyncio.Event()

    async def script(peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\npart")
        await peer.gone()
        gone.set()

    server = await serve(script)
    async with pool.request("127.0.0.1", server.port, b"GET", b"/"):
        pass
    await asyncio.wait_for(gone.wait(), 5)


async def test_idle_connections_are_reaped(serve: Serve) -> None:
    pool = UpstreamPool(keep_alive=0.05)
    gone = asyncio.Event()

    async def script(peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.gone()
        gone.set()

    server = await serve(script)
    await fetch(pool, server.port)
    await asyncio.wait_for(gone.wait(), 5)
    pool.close()


@pytest.mark.parametrize("parting", [b"", b"unasked bytes"])
async def test_a_connection_that_ended_while_idle_is_not_used(serve: Serve, pool: UpstreamPool, parting) -> None:
    closed = asyncio.Event()

    async def script(peer) -> None:
        await peer.request()
        await peer.send(OK)
        if server.accepted == 1:
            await peer.send(parting)
            peer.close()
            await peer.writer.wait_closed()
            closed.set()
        else:
            await peer.gone()

    server = await serve(script)
    await fetch(pool, server.port, b"POST", b"x")
    await closed.wait()
    assert await fetch(pool, server.port, b"POST", b"x") == b"ok"
    assert server.accepted == 2


async def test_stale_connection_is_replaced_only_when_that_is_safe(serve: Serve, pool: UpstreamPool) -> None:
    seen = []

    async def script(peer) -> None:  # answers one request per connection and drops the second unanswered
        seen.append((await peer.request())[:4])
        await peer.send(OK)
        seen.append((await peer.request())[:4])

    server = await serve(script)
    assert await fetch(pool, server.port) == b"ok"
    assert await fetch(pool, server.port) == b"ok"  # dropped, then sent again on a fresh connection
    assert seen == [b"GET "] * 3
    with pytest.raises(UpstreamClosed) as caught:
        await fetch(pool, server.port, b"POST", b"x")
    assert caught.value.sent
    assert not caught.value.answered
    assert seen == [b"GET "] * 3 + [b"POST"]


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize(
    ("headers", "framed"),
    [
        ([], b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
        ([(b"content-length", b"3")], b"content-length: 3\r\n\r\nabc"),
    ],
)
async def test_streamed_request(serve: Serve, pool: UpstreamPool, headers, framed) -> None:
    seen = []

    async def script(peer) -> None:
        while True:
            seen.append(await peer.request())
            await peer.send(OK)

    server = await serve(script)
    for _ in range(2):
        assert await fetch(pool, server.port, b"PUT", pieces(b"ab", b"", b"c"), headers) == b"ok"
    assert seen[0].endswith(framed)
    assert seen[0] == seen[1]
    assert server.accepted == 1


@pytest.mark.parametrize("parts", [(b"ab",), (b"ab", b"cd")])
async def test_streamed_request_must_have_its_length(serve: Serve, pool: UpstreamPool, parts) -> None:
    async def script(peer) -> None:
        await peer.gone()

    server = await serve(script)
    with pytest.raises(ValueError, match="content-length"):
        await fetch(pool, server.port, b"PUT", pieces(*parts), [(b"content-length", b"3")])


async def test_an_answer_before_the_end_of_the_request(serve: Serve, pool: UpstreamPool) -> None:
    gone = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0)

    async def script(peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await peer.gone()
        gone.set()

    server = await serve(script)
    async with pool.request("127.0.0.1", server.port, b"POST", b"/", (), endless()) as exchange:
        assert exchange.status == 413
        assert await exchange.read(10) == b"no"
    await asyncio.wait_for(gone.wait(), 5)


async def test_an_error_of_the_source_ends_the_exchange(serve: Serve, pool: UpstreamPool) -> None:
    gone = asyncio.Event()

    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise LookupError("the client is gone")

    async def script(peer) -> None:
        await peer.gone()
        gone.set()

    server = await serve(script)
    with pytest.raises(LookupError):
        await fetch(pool, server.port, b"POST", broken())
    await asyncio.wait_for(gone.wait(), 5)
