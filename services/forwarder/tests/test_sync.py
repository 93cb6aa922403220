"""Sync calls: what is forwarded, how answers are wrapped, what failures look like."""

import asyncio
import json

import pytest


@pytest.mark.parametrize(
    ("block", "args", "result"),
    [
        ({}, {"a": 1}, b'{"result":"{\\"a\\": 1}"}'),
        ({}, [1, 2], b'{"result":"[1, 2]"}'),
        ({}, "s", b'{"result":"\\"s\\""}'),
        ({}, {"serialize_results_as_string": False}, b'{"result":{"serialize_results_as_string":false}}'),
        ({"serialize_results_as_string": False}, {"a": 1}, b'{"result":{"a":1}}'),
        ({"forward_http_status_in_body": True}, {"a": 1}, b'{"result":"{\\"a\\": 1}","status_code":200}'),
        ({"wrap_response": False}, {"a": 1}, b'{"a":1}'),
    ],
)
async def test_echo(start, model, block, args, result) -> None:
    forwarder = await start(sync=block)
    answer = await forwarder.predict(args)
    assert (answer.status, answer.body) == (200, result)
    assert answer.header("content-type") == ["application/json"]
    assert json.loads(model.requests[0].body) == args


async def test_without_unwrap_the_model_gets_all_seven_keys(start, model) -> None:
    forwarder = await start(sync={"model_engine_unwrap": False, "wrap_response": False})
    answer = await forwarder.call("POST", "/predict", {"url": "s3://x", "timeout_seconds": 3})
    assert list(answer.json) == [
        "url",
        "args",
        "cloudpickle",
        "callback_url",
        "callback_auth",
        "return_pickled",
        "destination_path",
    ]
    assert answer.json["url"] == "s3://x"


async def test_only_trace_headers_are_forwarded(start, model) -> None:
    forwarder = await start(sync={"predict_route": "/deep/predict"})
    trace = (
        (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        (b"tracestate", b"a=b"),
        (b"authorization", b"Basic c2VjcmV0"),
        (b"content-type", b"application/x-www-form-urlencoded"),
    )
    assert (await forwarder.call("POST", "/predict", {"args": {}}, trace)).status == 200
    [request] = model.requests
    assert (request.method, request.target) == ("POST", "/deep/predict")
    assert dict(request.headers) == {
        "host": f"127.0.0.1:{model.port}",
        "content-type": "application/json",
        "traceparent": trace[0][1].decode(),
        "tracestate": "a=b",
        "content-length": "2",
    }


@pytest.mark.parametrize("status", [200, 201, 202, 400, 404, 422, 429, 500, 503])
@pytest.mark.parametrize("forward", [True, False])
async def test_status(start, model, status, forward) -> None:
    forwarder = await start(sync={"forward_http_status": forward})
    model.reply = f'HTTP/1.1 {status} X\r\ncontent-length: 13\r\n\r\n{{"error":"x"}}'.encode()
    answer = await forwarder.predict({})
    assert answer.status == (status if forward else 200)
    assert answer.body == b'{"result":"{\\"error\\": \\"x\\"}"}'


async def test_status_without_a_body(start, model) -> None:
    forwarder = await start()
    model.reply = b"HTTP/1.1 204 No Content\r\n\r\n"
    for _ in range(2):
        answer = await forwarder.predict({})
        assert (answer.status, answer.body, answer.header("content-type")) == (204, b"", [])


async def test_empty_answer_is_null(start, model) -> None:
    forwarder = await start()
    model.reply = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    assert (await forwarder.predict({})).body == b'{"result":"null"}'


@pytest.mark.parametrize(
    ("status", "body", "block", "expected"),
    [
        (200, b"plain text", {}, 502),
        (500, b"Internal Server Error", {}, 500),
        (503, b"busy", {}, 503),
        (500, b"Internal Server Error", {"forward_http_status": False}, 502),
        (200, b'{"a":NaN}', {"serialize_results_as_string": False}, 502),
        (200, b"plain text", {"wrap_response": False}, 502),
    ],
)
async def test_unreadable_answer_keeps_status_and_text(start, model, status, body, block, expected) -> None:
    forwarder = await start(sync=block)
    model.reply = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)
    answer = await forwarder.predict({})
    assert answer.status == expected
    assert answer.json["code"] == "MODEL_SERVER_INVALID_ANSWER"
    assert (answer.json["status_code"], answer.json["body"]) == (status, body.decode())
    assert body.decode() in answer.json["detail"]


async def test_large_integers_and_surrogates_come_through(start, model) -> None:
    forwarder = await start(sync={"serialize_results_as_string": False})
    raw = b'{"args":{"n":123456789012345678901234567890,"t":"\\ud800"}}'
    answer = await forwarder.call("POST", "/predict", raw)
    assert answer.body == b'{"result":{"n":123456789012345678901234567890,"t":"\\ud800"}}'


@pytest.mark.parametrize(
    ("body", "location"), [(b"{", ["body", 1]), (b"[]", ["body"]), (b'{"args":5}', ["body", "args"]), (b"", ["body"])]
)
async def test_bad_envelope_is_422_and_is_not_forwarded(start, model, body, location) -> None:
    forwarder = await start()
    answer = await forwarder.call("POST", "/predict", body)
    assert answer.status == 422
    assert answer.json["detail"][0]["loc"] == location
    assert not model.requests


async def test_body_limit(start, model) -> None:
    forwarder = await start(max_body_bytes=100)

    async def pieces():
        for _ in range(5):
            yield b" " * 30

    declared = await forwarder.call("POST", "/predict", b" " * 101)
    streamed = await forwarder.call("POST", "/predict", pieces())
    assert (declared.status, streamed.status) == (413, 413)
    assert declared.json["code"] == "BODY_TOO_LARGE"
    model.reply = b"HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n" + b" " * 101
    answer = await forwarder.predict({})
    assert (answer.status, answer.json["code"]) == (502, "MODEL_SERVER_ANSWER_TOO_LARGE")


@pytest.mark.parametrize(
    ("location", "followed"),
    [
        ("/elsewhere?x=1", True),
        ("http://127.0.0.1:{port}/elsewhere?x=1#part", True),
        ("http://example.com/elsewhere", False),
        ("//example.com/elsewhere", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("status", [307, 308])
async def test_repeating_redirects_within_the_server_are_followed(start, model, location, followed, status) -> None:
    forwarder = await start()

    async def reply(connection, request) -> None:
        if request.target == "/predict":
            place = location.format(port=model.port)
            await connection.send(f"HTTP/1.1 {status} X\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n".encode())
        else:
            await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1")

    model.reply = reply
    answer = await forwarder.predict({"a": 1})
    if followed:
        assert (answer.status, answer.body) == (200, b'{"result":"1"}')
        assert [(r.method, r.target, r.body) for r in model.requests] == [
            ("POST", "/predict", b'{"a":1}'),
            ("POST", "/elsewhere?x=1", b'{"a":1}'),
        ]
    else:
        assert answer.status == status
        assert len(model.requests) == 1


async def test_redirects_end(start, model) -> None:
    forwarder = await start()
    model.reply = b"HTTP/1.1 307 X\r\nlocation: /predict\r\ncontent-length: 0\r\n\r\n"
    assert (await forwarder.predict({})).status == 307
    assert len(model.requests) == 6


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_other_redirects_are_handed_on(start, model, status) -> None:
    forwarder = await start()
    model.reply = f"HTTP/1.1 {status} X\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n".encode()
    assert (await forwarder.predict({})).status == status
    assert len(model.requests) == 1


async def test_model_server_drops_the_call(start, model) -> None:
    forwarder = await start()

    async def drop(connection, request) -> None:
        connection.writer.close()

    model.reply = drop
    answer = await forwarder.predict({})
    assert (answer.status, answer.json["code"]) == (502, "MODEL_SERVER_DISCONNECTED")
    assert len(model.requests) == 1


async def test_model_server_is_too_slow(start, model) -> None:
    forwarder = await start(head_timeout_seconds=0.05)

    async def hang(connection, request) -> None:
        await connection.gone()

    model.reply = hang
    answer = await forwarder.predict({})
    assert (answer.status, answer.json["code"]) == (504, "MODEL_SERVER_TIMEOUT")


async def test_connections_to_the_model_server_are_reused(start, model) -> None:
    forwarder = await start()
    before = model.connections
    for _ in range(20):
        assert (await forwarder.predict({})).status == 200
    assert model.connections <= before + 1


async def test_caller_who_leaves_cancels_the_call(start, model) -> None:
    forwarder = await start()
    reached, gone = asyncio.Event(), asyncio.Event()

    async def hang(connection, request) -> None:
        reached.set()
        await connection.gone()
        gone.set()

    model.reply = hang
    call = asyncio.create_task(forwarder.predict({}))
    await asyncio.wait_for(reached.wait(), 5)
    call.cancel()
    await asyncio.wait_for(gone.wait(), 5)
    metrics = (await forwarder.call("GET", "/metrics")).body.decode()
    assert 'requests_total{route="/predict",status="499"} 1.0' in metrics
    assert "modelengine_forwarder_running_requests 0.0" in metrics


async def test_a_body_that_does_not_come_ends_the_call(start, model) -> None:
    forwarder = await start(idle_timeout_seconds=0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", forwarder.port)
    writer.write(b'POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{"args"')
    assert (await reader.readline()) == b"HTTP/1.1 408 Request Timeout\r\n"
    assert not model.requests
    writer.close()
