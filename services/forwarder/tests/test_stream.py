"""Streams: events in, events out, errors before and after the first one."""

import asyncio

import pytest

from model_engine_forwarder.handlers import stream as stream_handler

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def events(*pieces: bytes):
    """A reply that sends each piece as a write of its own, then closes."""

    async def reply(connection, request) -> None:
        await connection.send(HEAD)
        for piece in pieces:
            await connection.send(piece)
            await asyncio.sleep(0)
        connection.writer.close()

    return reply


@pytest.mark.parametrize(
    ("sent", "got"),
    [
        (b'data: {"a":1}\n\n', ['{"result":{"a":1}}']),
        (b'data: {"a": 1, "b": [1.50, 1e400]}\r\n\r\n', ['{"result":{"a":1,"b":[1.5,null]}}']),
        (b"data: plain text\n\n", ['{"result":"plain text"}']),
        (b"data: [DONE]\n\n", ['{"result":"[DONE]"}']),
        (b"data:  two blanks\n\n", ['{"result":" two blanks"}']),
        (b"data:none\n\n", ['{"result":"none"}']),
        (b"data:\n\n", ['{"result":""}']),
        (b"data\n\n", ['{"result":""}']),
        (b": comment\nevent: x\nid: 1\nretry: 5\ndata: 5\n\n", ['{"result":5}']),
        (b"event: nothing\n\ndata: 5\n\n", ['{"result":5}']),
        (b'data: {"a":\ndata: 1}\n\n', ['{"result":{"a":1}}']),
        (b"data: two\ndata: lines\n\n", ['{"result":"two\\nlines"}']),
        (b"data: 1\n\ndata: 2\n\n", ['{"result":1}', '{"result":2}']),
        (b"data: unfinished", ['{"result":"unfinished"}']),
        (b'data: {"t":"\\ud800"}\n\n', ['{"result":{"t":"\\ud800"}}']),
        (b"data: 123456789012345678901234567890\n\n", ['{"result":123456789012345678901234567890}']),
        (b"data: NaN\n\n", ['{"result":"NaN"}']),
        ("data: é\n\n".encode(), ['{"result":"é"}']),
        (b"data: \xff\n\n", ['{"result":"\ufffd"}']),
        (b"data: " + b"x" * 300_000 + b"\n\n", ['{"result":"' + "x" * 300_000 + '"}']),
    ],
)
async def test_events(start, model, sent, got) -> None:
    forwarder = await start()
    model.reply = events(sent)
    answer = await forwarder.stream({})
    assert answer.status == 200
    assert answer.events == got


@pytest.mark.parametrize("flag", [None, True])
async def test_events_as_text(start, model, flag) -> None:
    forwarder = await start(stream={"serialize_results_as_string": flag is None})
    model.reply = events(b'data: {"a": 1}\n\ndata: [DONE]\n\n')
    answer = await forwarder.stream({} if flag is None else {"serialize_results_as_string": True})
    assert answer.events == ['{"result":"{\\"a\\": 1}"}', '{"result":"[DONE]"}']


async def test_head_and_framing(start, model) -> None:
    forwarder = await start()
    model.reply = events(b"data: 1\n\n", b"data: 2\n\n")
    answer = await forwarder.stream({"x": 1})
    assert {name: value for name, value in answer.headers if name != "date"} == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
        "connection": "keep-alive",
        "x-accel-buffering": "no",
        "transfer-encoding": "chunked",
    }
    assert answer.body == b'data: {"result":1}\r\n\r\ndata: {"result":2}\r\n\r\n'
    assert (model.requests[0].target, model.requests[0].body) == ("/stream", b'{"x":1}')


async def test_each_event_is_sent_at_once(start, model) -> None:
    forwarder = await start()
    go_on = asyncio.Event()

    async def reply(connection, request) -> None:
        await connection.send(HEAD + b"data: 1\n\n")
        await go_on.wait()
        await connection.send(b"data: 2\n\n")
        connection.writer.close()

    model.reply = reply
    async with forwarder.client.request("127.0.0.1", forwarder.port, b"POST", b"/stream", (), b'{"args":{}}') as answer:
        body = answer.body()
        assert await anext(body) == b'data: {"result":1}\r\n\r\n'
        go_on.set()
        assert await anext(body) == b'data: {"result":2}\r\n\r\n'


async def test_comments_keep_the_stream_alive(start, model, monkeypatch) -> None:
    monkeypatch.setattr(stream_handler, "PING_SECONDS", 0.01)
    forwarder = await start()
    go_on = asyncio.Event()

    async def reply(connection, request) -> None:
        await connection.send(HEAD + b"data: 1\n\n")
        await go_on.wait()
        connection.writer.close()

    model.reply = reply
    async with forwarder.client.request("127.0.0.1", forwarder.port, b"POST", b"/stream", (), b'{"args":{}}') as answer:
        body = answer.body()
        assert await anext(body) == b'data: {"result":1}\r\n\r\n'
        ping = await anext(body)
        assert ping.startswith(b": ping - 20")
        assert ping.endswith(b"+00:00\r\n\r\n")
        go_on.set()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, b'{"error": "bad"}', {"detail": {"error": "bad"}}),
        (422, b'["x"]', {"detail": ["x"]}),
        (503, b"null", {"detail": None}),
        (500, b"", {"detail": None}),
    ],
)
async def test_error_before_the_first_event(start, model, status, body, expected) -> None:
    forwarder = await start()
    model.reply = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)
    answer = await forwarder.stream({})
    assert (answer.status, answer.json) == (status, expected)


async def test_unreadable_error_before_the_first_event(start, model) -> None:
    forwarder = await start()
    model.reply = b"HTTP/1.1 500 X\r\ncontent-length: 4\r\n\r\noops"
    answer = await forwarder.stream({})
    assert (answer.status, answer.json["body"]) == (500, "oops")


@pytest.mark.parametrize("sent", [b"", b": only a comment\n\n", b'{"not": "events"}'])
async def test_no_event_at_all(start, model, sent) -> None:
    forwarder = await start()
    model.reply = events(sent)
    answer = await forwarder.stream({})
    assert (answer.status, answer.json["code"]) == (502, "MODEL_SERVER_INVALID_ANSWER")
    assert "no server-sent event" in answer.json["detail"]


async def test_failure_before_the_first_event(start, model) -> None:
    forwarder = await start()

    async def drop(connection, request) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        connection.writer.close()

    model.reply = drop
    answer = await forwarder.stream({})
    assert (answer.status, answer.json["code"]) == (502, "MODEL_SERVER_DISCONNECTED")


@pytest.mark.parametrize("ending", ["drop", "silence", "huge event"])
async def test_failure_after_the_first_event_ends_with_an_error_event(start, model, monkeypatch, ending) -> None:
    monkeypatch.setattr(stream_handler, "MAX_EVENT_BYTES", 1000)
    forwarder = await start(idle_timeout_seconds=0.05 if ending == "silence" else 5)
    relayed = asyncio.Event()

    async def reply(connection, request) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")
        await relayed.wait()
        if ending == "silence":
            await connection.gone()
        elif ending == "huge event":
            await connection.send(b"7d0\r\n" + b"data: " + b"x" * 1994 + b"\r\n")
            await connection.gone()
        else:
            connection.writer.close()

    model.reply = reply
    async with forwarder.client.request("127.0.0.1", forwarder.port, b"POST", b"/stream", (), b'{"args":{}}') as answer:
        body = answer.body()
        assert await anext(body) == b'data: {"result":1}\r\n\r\n'
        relayed.set()
        last = await anext(body)
        assert [piece async for piece in body] == []  # a proper end
    code, status = {
        "drop": ("MODEL_SERVER_DISCONNECTED", 502),
        "silence": ("MODEL_SERVER_TIMEOUT", 504),
        "huge event": ("MODEL_SERVER_ANSWER_TOO_LARGE", 502),
    }[ending]
    assert last.startswith(b'event: error\r\ndata: {"error":{"code":"%b","message":' % code.encode())
    assert last.endswith(b'"status_code":%d}}\r\n\r\n' % status)
    metrics = (await forwarder.call("GET", "/metrics")).body.decode()
    assert f'model_server_failures_total{{code="{code}"}} 1.0' in metrics


TRACEBACK = b'event: error\r\ndata: {"detail": {"traceback": "Traceback: boom"}}\r\n\r\n'


@pytest.mark.parametrize(
    ("sent", "status", "body"),
    [
        (
            b"data: 1\n\n" + TRACEBACK,
            200,
            b'data: {"result":1}\r\n\r\nevent: error\r\ndata: {"error":{"code":"PREDICTION_FAILED",'
            b'"message":"Traceback: boom","status_code":500}}\r\n\r\n',
        ),
        (TRACEBACK, 500, b'{"detail":"Traceback: boom","code":"PREDICTION_FAILED"}'),
        (b"event: error\ndata: 5\n\n", 200, b'data: {"result":5}\r\n\r\n'),
    ],
)
async def test_a_traceback_of_the_predict_function_ends_the_stream(start, model, sent, status, body) -> None:
    forwarder = await start()
    model.reply = events(sent)
    answer = await forwarder.stream({})
    assert (answer.status, answer.body) == (status, body)


@pytest.mark.parametrize("when", ["before the first event", "after it"])
async def test_caller_who_leaves_cancels_the_stream(start, model, when) -> None:
    forwarder = await start()
    reached, gone = asyncio.Event(), asyncio.Event()

    async def reply(connection, request) -> None:
        await connection.send(HEAD + (b"data: 1\n\n" if when == "after it" else b""))
        reached.set()
        await connection.gone()
        gone.set()

    model.reply = reply
    call = asyncio.create_task(forwarder.stream({}))
    await asyncio.wait_for(reached.wait(), 5)
    call.cancel()
    await asyncio.wait_for(gone.wait(), 5)


async def test_a_line_of_many_megabytes(start, model) -> None:
    forwarder = await start()
    model.reply = events(b"data: " + b"x" * (15 << 20) + b"\n\n")
    answer = await forwarder.stream({})
    assert answer.status == 200
    assert len(answer.body) > 15 << 20


async def test_caller_who_reads_no_more_is_cut(start, model) -> None:
    forwarder = await start(idle_timeout_seconds=0.2)
    gone = asyncio.Event()

    async def endless(connection, request) -> None:
        await connection.send(HEAD)
        try:
            while True:
                await connection.send(b"data: " + b"x" * 65536 + b"\n\n")
        finally:
            gone.set()

    model.reply = endless
    _, writer = await asyncio.open_connection("127.0.0.1", forwarder.port, limit=1)
    writer.write(b'POST /stream HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\n\r\n{"args":{}}')
    await asyncio.wait_for(gone.wait(), 10)
    writer.close()
