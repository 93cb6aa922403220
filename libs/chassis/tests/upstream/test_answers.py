"""What the client makes of answers: framing, limits, truncation, refusals."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from model_engine_chassis.upstream import (
    BadResponse,
    BodyTooLarge,
    ConnectFailed,
    UpstreamClosed,
    UpstreamPool,
    UpstreamTimeout,
)
from model_engine_chassis.upstream.connection import HIGH_WATER

Serve = Callable[..., Awaitable]  # the fixture of conftest.py

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def answer_always(data: bytes):
    async def script(peer) -> None:
        while True:
            await peer.request()
            await peer.send(data)

    return script


def answer_and_close(data: bytes):
    async def script(peer) -> None:
        await peer.request()
        await peer.send(data)

    return script


@pytest.mark.parametrize(
    ("method", "answer", "status", "body"),
    [
        (b"GET", OK, 200, b"ok"),
        (b"GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n1\r\n!\r\n0\r\n\r\n", 200, b"ok!"),
        (b"GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: 1\r\n\r\n", 200, b"a"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", 304, b""),
        (b"HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", 200, b""),
        (b"HEAD", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 200, b""),
        (b"GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + OK, 200, b"ok"),
    ],
)
async def test_connection_is_reused(serve: Serve, pool: UpstreamPool, method, answer, status, body) -> None:
    server = await serve(answer_always(answer))
    for _ in range(3):
        async with pool.request("127.0.0.1", server.port, method, b"/") as exchange:
            assert exchange.status == status
            assert await exchange.read(100) == body
            assert b"x" not in dict(exchange.headers)
            assert b"link" not in dict(exchange.headers)
    assert server.accepted == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nunasked",
        OK + b"garbage",
    ],
)
async def test_body_is_whole_but_connection_is_not_reused(serve: Serve, pool: UpstreamPool, answer) -> None:
    server = await serve(answer_and_close(answer))
    for _ in range(2):
        async with pool.request("127.0.0.1", server.port, b"GET", b"/") as exchange:
            assert await exchange.read(100) == b"ok"
    assert server.accepted == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + OK,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 17 + OK,
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: aaaaaaaaaaaaaaaa\r\n" * 5_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 1_000_000,
        b"SSH-2.0-OpenSSH_9.0\r\n",
    ],
)
async def test_refused_answers(serve: Serve, pool: UpstreamPool, answer) -> None:
    server = await serve(answer_always(answer))
    with pytest.raises(BadResponse) as caught:
        async with pool.request("127.0.0.1", server.port, b"GET", b"/"):
            pass
    assert caught.value.sent
    assert caught.value.answered


async def test_endless_trailer_is_refused(serve: Serve, pool: UpstreamPool) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    server = await serve(answer_always(head + b"1\r\na\r\n0\r\nx: " + b"a" * 2_000_000))
    with pytest.raises(BadResponse, match="trailer"):
        async with pool.request("127.0.0.1", server.port, b"GET", b"/") as exchange:
            await exchange.read(100)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\npart",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n",
    ],
)
async def test_truncated_body_is_an_error_after_what_came(serve: Serve, pool: UpstreamPool, answer) -> None:
    server = await serve(answer_and_close(answer))
    async with pool.request("127.0.0.1", server.port, b"GET", b"/") as exchange:
        body = exchange.body()
        assert await anext(body) == b"part"
        with pytest.raises(UpstreamClosed) as caught:
            await anext(body)
    assert caught.value.answered


async def test_body_over_the_callers_limit(serve: Serve, pool: UpstreamPool) -> None:
    server = await serve(answer_always(OK))
    async with pool.request("127.0.0.1", server.port, b"GET", b"/") as exchange:
        with pytest.raises(BodyTooLarge):
            await exchange.read(1)


async def test_nothing_listens(pool: UpstreamPool, refusing_port: int) -> None:
    with pytest.raises(ConnectFailed) as caught:
        async with pool.request("127.0.0.1", refusing_port, b"POST", b"/"):
            pass
    assert not caught.value.sent


async def test_silent_before_the_head(serve: Serve) -> None:
    pool = UpstreamPool(head_timeout=0.05)
    gone = asyncio.Event()

    async def script(peer) -> None:
        await peer.request()
        await peer.gone()
        gone.set()

    server = await serve(script)
    with pytest.raises(UpstreamTimeout) as caught:
        async with pool.request("127.0.0.1", server.port, b"POST", b"/", body=b"x"):
            pass
    assert caught.value.sent
    assert not caught.value.answered
    await asyncio.wait_for(gone.wait(), 5)
    pool.close()


async def test_silent_within_the_body(serve: Serve) -> None:
    pool = UpstreamPool(idle_timeout=0.05)

    async def script(peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\npart")
        await peer.gone()

    server = await serve(script)
    with pytest.raises(UpstreamTimeout):
        async with pool.request("127.0.0.1", server.port, b"GET", b"/") as exchange:
            await exchange.read(100)
    pool.close()


async def test_a_slow_reader_pauses_the_upstream(serve: Serve, pool: UpstreamPool) -> None:
    size = 32 << 20

    async def script(peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size >> 20):
            await peer.send(bytes(1 << 20))

    server = await serve(script)
    async with pool.request("127.0.0.1", server.port, b"GET", b"/") as exchange:
        async with asyncio.timeout(10):
            while not exchange._connection._reading_paused:
                await asyncio.sleep(0)
        total = 0
        async for piece in exchange.body():
            assert len(piece) <= HIGH_WATER + (1 << 20)
            total += len(piece)
        assert total == size
