"""Which route does what: extra routes, the stream flag, precedence, health, readiness, metrics, the limit."""

import asyncio

import pytest

from model_engine_local.testing import eventually

CHAT = "/v1/chat/completions"


SYNC_REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1"
STREAM_REPLY = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n0\r\n\r\n"
STREAM, SYNC, REFUSED = b'data: {"result":1}\r\n\r\n', b'{"result":"1"}', None


@pytest.mark.parametrize(
    ("where", "args", "expected"),
    [
        ("both", {"stream": True}, STREAM),
        ("both", {"stream": 1}, STREAM),
        ("both", {"stream": False}, SYNC),
        ("both", {"stream": None}, SYNC),
        ("both", {}, SYNC),
        ("sync", {"stream": 1}, SYNC),
        ("sync", {}, SYNC),
        ("sync", {"stream": True}, REFUSED),
        ("stream", {"stream": True}, STREAM),
        ("stream", {"stream": "yes"}, STREAM),
        ("stream", {"stream": False}, REFUSED),
        ("stream", {}, REFUSED),
        ("both", [1], REFUSED),
        ("both", "text", REFUSED),
        ("both", None, REFUSED),
    ],
)
async def test_extra_routes_choose_by_the_stream_flag(start, model, where, args, expected) -> None:
    model.reply = STREAM_REPLY if expected is STREAM else SYNC_REPLY
    lists = {"extra_routes": [CHAT]}
    forwarder = await start(sync=lists if where != "stream" else {}, stream=lists if where != "sync" else {})
    answer = await forwarder.call("POST", CHAT, {"args": args})
    if expected is REFUSED:
        assert answer.status == 422
        assert answer.json["detail"][0]["loc"][:2] == ["body", "args"]
        assert not model.requests
    else:
        assert (answer.status, answer.body) == (200, expected)
        assert model.requests[0].target == CHAT


async def test_routes_and_extra_routes_are_one_list(start, model) -> None:
    forwarder = await start(sync={"routes": ["/a", "/predict"], "extra_routes": ["/b", "/a"], "predict_route": "/p"})
    for route in ("/a", "/b", "/predict"):
        assert (await forwarder.call("POST", route, {"args": {}})).status == 200
    assert [request.target for request in model.requests] == ["/a", "/b", "/p"]


@pytest.mark.parametrize(
    ("method", "target", "status", "body"),
    [
        ("GET", "/healthz", 200, b'"OK"'),
        ("GET", "/livez", 200, b'"OK"'),
        ("GET", "/readyz", 200, b'"OK"'),
        ("POST", "/readyz", 405, b'{"detail":"Method Not Allowed"}'),
        ("GET", "/predict", 405, b'{"detail":"Method Not Allowed"}'),
        ("GET", "/nothing", 404, b'{"detail":"Not Found"}'),
        ("POST", "/predict/", 404, b'{"detail":"Not Found"}'),
    ],
)
async def test_fixed_routes(start, method, target, status, body) -> None:
    forwarder = await start()
    answer = await forwarder.call(method, target)
    assert (answer.status, answer.body) == (status, body)
    if status == 405:
        assert answer.header("allow")


async def test_without_a_stream_block_there_is_no_stream(start) -> None:
    forwarder = await start(sync={})
    assert (await forwarder.stream({})).status == 404


async def test_readiness_follows_the_model_server(start, model) -> None:
    model.health = b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n"
    forwarder = await start(ready=False)
    readiness = forwarder.forwarder.readiness
    await eventually(lambda: "503" in (readiness.problem or ""))
    answer = await forwarder.call("GET", "/readyz")
    assert (answer.status, answer.json["code"]) == (503, "MODEL_SERVER_NOT_READY")
    assert "GET /readyz" in answer.json["detail"]
    assert (await forwarder.call("GET", "/healthz")).status == 200
    refused = await forwarder.predict({})
    assert (refused.status, refused.header("retry-after")) == (503, ["1"])
    assert not model.requests
    model.health = b"HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n"
    await eventually(lambda: readiness.problem is None)
    assert (await forwarder.call("GET", "/readyz")).status == 200
    assert (await forwarder.predict({})).status == 200
    model.health = b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n"
    await eventually(lambda: readiness.problem is not None)
    assert (await forwarder.call("GET", "/readyz")).status == 503
    assert (await forwarder.predict({})).status == 200  # the model server still answers; its caller decides


async def test_a_refused_connection_is_503_and_turns_readiness_off(start, refusing_port) -> None:
    forwarder = await start(sync={"user_port": refusing_port}, ready=False)
    forwarder.forwarder.readiness.started = True
    answer = await forwarder.predict({})
    assert (answer.status, answer.json["code"]) == (503, "MODEL_SERVER_UNAVAILABLE")
    assert answer.header("retry-after") == ["1"]
    await eventually(lambda: "cannot be reached" in (forwarder.forwarder.readiness.problem or ""))


def parked(gate: asyncio.Event, seen: list[int], model):
    """A reply that waits at the gate and notes how many wait with it."""
    running = 0

    async def reply(connection, request) -> None:
        nonlocal running
        running += 1
        seen.append(running)
        await connection.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\ndata: 1\n\n")
        await gate.wait()
        running -= 1
        connection.writer.close()

    return reply


async def test_the_limit_holds_for_calls_streams_and_passthrough_together(start, model) -> None:
    raw = {"forwarder_type": "passthrough", "routes": ["/raw"], "healthcheck_route": "/readyz"}
    forwarder = await start(sync={}, stream=raw, max_concurrency=4)
    gate, seen = asyncio.Event(), []
    model.reply = parked(gate, seen, model)
    targets = ["/predict", "/stream", "/raw"] * 10
    calls = [asyncio.create_task(forwarder.call("POST", target, {"args": {}})) for target in targets]
    await eventually(lambda: sum(call.done() for call in calls) == len(targets) - 4)
    refused = [call.result() for call in calls if call.done()]
    assert {answer.status for answer in refused} == {429}
    assert {answer.body for answer in refused} == {b'{"detail":"Too many requests"}'}
    assert refused[0].header("retry-after") == ["1"]
    assert (await forwarder.call("GET", "/readyz")).status == 200
    gate.set()
    await asyncio.gather(*calls)
    assert max(seen) == 4
    assert forwarder.forwarder.readiness.problem is None
    assert (await forwarder.predict({})).status != 429


async def test_a_queue_may_stand_before_the_limit(start, model) -> None:
    forwarder = await start(max_concurrency=1, max_queue=1, queue_timeout_seconds=10)
    gate = asyncio.Event()

    async def reply(connection, request) -> None:
        await gate.wait()
        await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1")

    model.reply = reply
    calls = [asyncio.create_task(forwarder.predict({})) for _ in range(3)]
    await eventually(lambda: any(call.done() for call in calls))
    gate.set()
    assert sorted([(await call).status for call in calls]) == [200, 200, 429]


async def test_metrics(start, model) -> None:
    forwarder = await start(max_concurrency=7)
    await forwarder.predict({})
    await forwarder.call("POST", "/predict", b"{")
    await forwarder.call("POST", "/unknown", b"")
    answer = await forwarder.call("GET", "/metrics")
    text = answer.body.decode()
    assert answer.header("content-type")[0].startswith("text/plain")
    assert 'modelengine_forwarder_requests_total{route="/predict",status="200"} 1.0' in text
    assert 'modelengine_forwarder_requests_total{route="/predict",status="422"} 1.0' in text
    assert 'modelengine_forwarder_request_seconds_count{route="/predict"} 2.0' in text
    assert "modelengine_forwarder_max_concurrency 7.0" in text
    assert "modelengine_forwarder_ready 1.0" in text
    assert "unknown" not in text


async def test_logs_hold_no_payload_and_at_most_one_line_per_request(start, model, caplog) -> None:
    caplog.set_level("INFO")
    forwarder = await start()
    caplog.clear()
    await forwarder.predict({"secret": "tiger"})
    assert not caplog.records
    model.reply = b"HTTP/1.1 500 X\r\ncontent-length: 5\r\n\r\ntiger"
    await forwarder.predict({"secret": "tiger"})
    [record] = caplog.records
    assert (record.route, record.status, record.code) == ("/predict", 500, "MODEL_SERVER_INVALID_ANSWER")
    assert "tiger" not in str(vars(record))
