"""Streams: every event in the envelope as it comes, every failure an event, nothing runs on for nobody."""

import asyncio
import json

import httpx
import pytest

from model_engine_contracts.endpoint_states import EndpointType
from model_engine_gateway.inference import streaming_tasks
from model_engine_local.testing import eventually

from .conftest import END, Exchange, Platform, StartPlatform


@pytest.fixture
async def platform(start_platform: StartPlatform) -> Platform:
    platform = await start_platform()
    platform.add_endpoint(endpoint_type=EndpointType.STREAMING)
    return platform


def failure(answer: httpx.Response) -> dict[str, object]:
    """The one FAILURE event at the end of a stream."""
    assert answer.status_code == 200
    last = answer.text.strip().split("\r\n\r\n")[-1]
    event: dict[str, object] = json.loads(last.removeprefix("data: "))
    assert (event["status"], event["result"]) == ("FAILURE", None)
    return event


async def test_events_are_spliced_into_the_envelope(platform: Platform) -> None:
    async def stream(call: Exchange) -> None:
        await call.start()
        await call.piece(b': hello\r\n\r\ndata: {"result":{"a":1')
        await call.piece(b'}}\r\n\r\ndata: {"result":"[DONE]"}\r\n')
        await call.piece(b'\r\ndata: {\ndata: "result":2}\n\n')
        await call.piece(b"", last=True)

    worker = await platform.add_worker(stream)
    answer = await platform.call("streaming")
    envelope = b'data: {"status":"SUCCESS","result":%b,"traceback":null,"status_code":200}\r\n\r\n'
    assert answer.content == b"".join(
        envelope % result for result in (b'{"result":{"a":1}}', b'{"result":"[DONE]"}', b'{ "result":2}')
    )
    assert worker.calls[0].path == "/stream"
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"


async def test_an_event_is_passed_on_before_the_next_one(platform: Platform) -> None:
    more = asyncio.Event()

    async def stream(call: Exchange) -> None:
        await call.start()
        await call.piece(b"data: 1\r\n\r\n")
        await more.wait()
        await call.piece(b"data: 2\r\n\r\n", last=True)

    await platform.add_worker(stream)
    headers = {"authorization": "Bearer ada"}
    async with platform.client.stream(
        "POST", "/v1/streaming-tasks", params={"model_endpoint_id": END}, json={}, headers=headers
    ) as answer:
        lines = answer.aiter_lines()
        assert '"result":1' in await anext(lines)
        more.set()
        assert '"result":2' in "".join([line async for line in lines])


@pytest.mark.parametrize("status", [400, 422, 500])
async def test_an_error_of_the_worker_is_one_failure_event(platform: Platform, status: int) -> None:
    async def fail(call: Exchange) -> None:
        await call.answer(b'{"detail":{"traceback":"boom"}}', status)

    await platform.add_worker(fail)
    event = failure(await platform.call("streaming"))
    assert (event["traceback"], event["status_code"]) == ("boom", status)


@pytest.mark.parametrize(
    ("tail", "traceback", "status_code"),
    [
        (b'event: error\r\ndata: {"error":{"code":"X","message":"gone","status_code":504}}\r\n\r\n', "gone", 504),
        (b"event: error\r\ndata: odd\r\n\r\n", "odd", 502),
        (b"data: not json\r\n\r\n", "The worker sent an event that is not JSON: not json", 500),
    ],
)
async def test_a_stream_that_goes_wrong_ends_in_a_failure_event(
    platform: Platform, tail: bytes, traceback: str, status_code: int
) -> None:
    async def stream(call: Exchange) -> None:
        await call.start()
        await call.piece(b"data: 1\r\n\r\n")
        await call.piece(tail, last=True)

    await platform.add_worker(stream)
    answer = await platform.call("streaming")
    assert answer.text.startswith('data: {"status":"SUCCESS","result":1,')
    event = failure(answer)
    assert (event["traceback"], event["status_code"]) == (traceback, status_code)


async def test_a_worker_that_dies_in_mid_stream_is_a_failure_event(platform: Platform) -> None:
    async def cut(call: Exchange) -> None:
        await call.start()
        await call.piece(b"data: 1\r\n\r\n")
        raise ConnectionResetError  # the server closes without the last chunk

    await platform.add_worker(cut)
    event = failure(await platform.call("streaming"))
    assert event["status_code"] == 502
    assert "broke off" in str(event["traceback"])


async def test_overload_is_a_failure_event(platform: Platform) -> None:
    async def busy(call: Exchange) -> None:
        await call.answer(b"{}", 429)

    await platform.add_worker(busy)
    event = failure(await platform.call("streaming", body={"num_retries": 0}))
    assert (event["traceback"], event["status_code"]) == ("Too many concurrent requests", 429)


async def test_before_the_first_event_the_deadline_is_plain_http(platform: Platform) -> None:
    answer = await platform.call("streaming", body={"timeout_seconds": 0.05})
    assert (answer.status_code, answer.json()["detail"]) == (408, "Request timed out.")


async def test_after_the_first_event_the_deadline_does_not_cut(platform: Platform) -> None:
    deadline_passed = asyncio.Event()

    async def stream(call: Exchange) -> None:
        await call.start()
        await call.piece(b"data: 1\r\n\r\n")
        await deadline_passed.wait()
        await call.piece(b"data: 2\r\n\r\n", last=True)

    await platform.add_worker(stream)
    asyncio.get_running_loop().call_later(0.6, deadline_passed.set)
    answer = await platform.call("streaming", body={"timeout_seconds": 0.5})
    assert answer.text.count("SUCCESS") == 2


async def test_silence_is_filled_with_pings_and_later_errors_are_events(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform.inference.streaming, "_ping_seconds", 0.05)
    answer = await platform.call("streaming", body={"timeout_seconds": 0.4})
    assert answer.text.startswith(": ping - ")
    assert answer.text.count(": ping - ") >= 3
    event = failure(answer)
    assert (event["traceback"], event["status_code"]) == ("Request timed out.", 408)


async def test_an_empty_stream_is_empty(platform: Platform) -> None:
    async def stream(call: Exchange) -> None:
        await call.start()
        await call.piece(b"", last=True)

    await platform.add_worker(stream)
    answer = await platform.call("streaming")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("events", [0, 1])
async def test_a_client_that_leaves_ends_the_workers_stream(platform: Platform, events: int) -> None:
    async def stream(call: Exchange) -> None:
        await call.start()
        for _ in range(events):
            await call.piece(b"data: 1\r\n\r\n")
        await call.gone()
        call.headers["gone"] = "yes"

    worker = await platform.add_worker(stream)
    with pytest.raises(httpx.ReadTimeout):
        await platform.call("streaming", timeout=0.3)
    await eventually(lambda: "gone" in worker.calls[0].headers)


async def test_only_streaming_endpoints_stream(platform: Platform) -> None:
    platform.add_endpoint(endpoint_type=EndpointType.SYNC)
    answer = await platform.call("streaming")
    assert answer.status_code == 400
    assert answer.json()["detail"] == f"Unsupported inference type: Endpoint {END} is not a streaming endpoint."


async def test_events_are_bounded(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming_tasks, "MAX_EVENT_BYTES", 100)

    async def stream(call: Exchange) -> None:
        await call.start()
        await call.piece(b'data: "' + b"x" * 200 + b'"\r\n\r\n', last=True)

    await platform.add_worker(stream)
    assert failure(await platform.call("streaming"))["status_code"] == 502
