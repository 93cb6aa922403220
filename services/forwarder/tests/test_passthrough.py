"""Passthrough routes: verbs, raw targets, headers and bodies, streamed both ways."""

import asyncio
import gzip
import zlib

import pytest

RAW = {"forwarder_type": "passthrough", "routes": ["/raw", "/v1/files"], "healthcheck_route": "/readyz"}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("mode", ["sync", "stream"])
async def test_verbs_and_bodies(start, model, method, mode) -> None:
    forwarder = await start(**{mode: RAW})
    body = b"\x00binary\xff"
    answer = await forwarder.call(method, "/raw", body, ((b"content-type", b"application/x-thing"),))
    sent = body if method in ("POST", "PUT", "PATCH") else b""
    [request] = model.requests
    assert (answer.status, request.method, request.target, request.body) == (200, method, "/raw", sent)
    assert answer.body == (b"" if method == "HEAD" else sent)
    assert request.header("content-type") == ["application/x-thing"]


@pytest.mark.parametrize("target", ["/raw?a=%2F%7E&b=%20+c", "/raw?", "/v1/files?x"])
async def test_query_is_handed_on_raw(start, model, target) -> None:
    forwarder = await start(stream=RAW)
    await forwarder.call("GET", target)
    assert model.requests[0].target == target.removesuffix("?")


async def test_request_headers(start, model) -> None:
    forwarder = await start(stream=RAW)
    headers = (
        (b"authorization", b"Bearer x"),
        (b"x-custom", b"1"),
        (b"x-custom", b"2"),
        (b"connection", b"keep-alive, x-hop"),
        (b"x-hop", b"1"),
        (b"te", b"trailers"),
        (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    )
    await forwarder.call("POST", "/raw", b"x", headers)
    [request] = model.requests
    assert request.headers == [
        ("host", f"127.0.0.1:{model.port}"),
        ("authorization", "Bearer x"),
        ("x-custom", "1"),
        ("x-custom", "2"),
        ("traceparent", headers[-1][1].decode()),
        ("accept-encoding", "gzip, deflate"),
        ("content-length", "1"),
    ]
    await forwarder.call("GET", "/raw", b"", ((b"accept-encoding", b"br"),))
    assert model.requests[1].header("accept-encoding") == ["br"]


async def test_answer_headers(start, model) -> None:
    forwarder = await start(stream=RAW)
    model.reply = (
        b"HTTP/1.1 203 X\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-Own: y\r\nserver: model\r\ndate: then\r\n"
        b"connection: keep-alive, x-hop\r\nx-hop: 1\r\nproxy-authenticate: Basic\r\ncontent-length: 2\r\n\r\nok"
    )
    answer = await forwarder.call("GET", "/raw")
    assert (answer.status, answer.body) == (203, b"ok")
    assert answer.header("set-cookie") == ["a=1", "b=2"]
    assert len(answer.header("date")) == 1
    assert answer.header("date") != ["then"]
    assert sorted(name for name, _ in answer.headers) == [
        "content-length",
        "date",
        "server",
        "set-cookie",
        "set-cookie",
        "x-own",
    ]


def deflate_raw(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("gzip", lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:])),
        ("deflate", zlib.compress),
        ("deflate", deflate_raw),
    ],
)
async def test_coded_answers_are_decoded(start, model, coding, encode) -> None:
    forwarder = await start(stream=RAW)
    content = bytes(range(256)) * 4000
    coded = encode(content)
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {len(coded)}\r\n\r\n".encode()
    model.reply = head + coded
    answer = await forwarder.call("GET", "/raw")
    assert answer.body == content
    assert not answer.header("content-encoding")


async def test_unknown_codings_are_handed_on(start, model) -> None:
    forwarder = await start(stream=RAW)
    model.reply = b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 2\r\n\r\nxx"
    answer = await forwarder.call("GET", "/raw")
    assert (answer.body, answer.header("content-encoding")) == (b"xx", ["br"])


@pytest.mark.parametrize(
    ("method", "reply", "length"),
    [
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", []),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", []),
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", ["9"]),
    ],
)
@pytest.mark.parametrize("mode", ["sync", "stream"])
async def test_answers_without_a_body(start, model, method, reply, length, mode) -> None:
    forwarder = await start(**{mode: RAW})
    model.reply = reply
    for _ in range(3):
        answer = await forwarder.call(method, "/raw")
        assert (answer.status, answer.body) == (int(reply[9:12]), b"")
        assert answer.header("content-length") == length
    assert (await forwarder.call("GET", "/readyz")).body == b'"OK"'


@pytest.mark.parametrize("status", [200, 201, 400, 422, 500])
async def test_error_body_comes_once(start, model, status) -> None:
    forwarder = await start(stream=RAW)
    model.reply = b"HTTP/1.1 %d X\r\ncontent-length: 5\r\n\r\nerror" % status
    answer = await forwarder.call("POST", "/raw", b"x")
    assert (answer.status, answer.body) == (status, b"error")


@pytest.mark.parametrize("mode", ["sync", "stream"])
async def test_large_bodies_stream_both_ways(start, model, mode) -> None:
    forwarder = await start(**{mode: RAW}, max_body_bytes=1000)
    body = bytes(1 << 20)

    async def pieces():
        for _ in range(8):
            yield body

    answer = await forwarder.call("POST", "/raw", pieces())
    assert answer.body == body * 8
    assert model.requests[0].body == body * 8


async def test_body_in_a_later_write_than_the_head(start, model) -> None:
    forwarder = await start(sync=RAW)

    async def reply(connection, request) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n")
        await asyncio.sleep(0)
        await connection.send(b"abc")

    model.reply = reply
    assert (await forwarder.call("GET", "/raw")).body == b"abc"


async def test_broken_answer_is_cut(start, model, caplog) -> None:
    forwarder = await start(stream=RAW)

    async def reply(connection, request) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart")
        connection.writer.close()

    model.reply = reply
    with pytest.raises(Exception, match="closed the connection"):
        await forwarder.call("GET", "/raw")
    assert [record.message for record in caplog.records if record.name.startswith("model_engine")] == [
        "an answer broke off"
    ]


@pytest.mark.parametrize("when", ["while it sends", "while it waits", "while it reads"])
async def test_caller_who_leaves_cancels_the_call(start, model, when) -> None:
    forwarder = await start(stream=RAW)
    reached, gone = asyncio.Event(), asyncio.Event()
    original = model.serve

    async def reply(connection, request) -> None:
        if when == "while it reads":
            await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart")
        reached.set()
        await connection.gone()
        gone.set()

    model.reply = reply

    async def endless():
        yield b"x"
        reached.set()
        await asyncio.Event().wait()

    async def watch(reader, writer) -> None:
        try:
            await original(reader, writer)
        finally:
            gone.set()

    body = b"x"
    if when == "while it sends":
        body = endless()
        server = await asyncio.start_server(watch, "127.0.0.1", 0)
        forwarder = await start(stream={**RAW, "user_port": server.sockets[0].getsockname()[1]})
        gone.clear()
    call = asyncio.create_task(forwarder.call("POST", "/raw", body))
    await asyncio.wait_for(reached.wait(), 5)
    call.cancel()
    await asyncio.wait_for(gone.wait(), 5)
    if when == "while it sends":
        server.close()


async def test_own_routes_keep_the_envelope(start, model) -> None:
    forwarder = await start(stream={**RAW, "routes": ["/stream", "/predict", "/raw"]}, sync={"routes": ["/other"]})
    assert (await forwarder.predict({"a": 1})).body == b'{"result":"{\\"a\\": 1}"}'
    assert (await forwarder.call("POST", "/stream", b"raw")).status == 422
    assert (await forwarder.call("POST", "/raw", b"raw")).body == b"raw"
    assert (await forwarder.call("POST", "/other", b"raw")).status == 404
