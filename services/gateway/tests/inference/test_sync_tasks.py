"""Sync calls: what reaches the worker, what comes back, what is tried again and what never is."""

import asyncio
import contextlib
import socket

import httpx
import pytest

from model_engine_contracts.endpoint_states import EndpointType, Phase
from model_engine_local.testing import eventually

from .conftest import END, Exchange, Platform, StartPlatform, Worker, endpoint_document


async def echo(call: Exchange) -> None:
    await call.answer(b'{"result": %b}' % call.body)


async def busy(call: Exchange) -> None:
    await call.answer(b'{"detail":"Too many requests"}', 429)


async def unhealthy(call: Exchange) -> None:
    await call.answer(b"no", 503)


async def hang(call: Exchange) -> None:
    await call.gone()
    call.headers["gone"] = "yes"


async def test_the_bytes_of_both_sides_are_kept(platform: Platform) -> None:
    worker = await platform.add_worker(echo)
    body = b'{ "args": {"x": [1.50, "\\u00e9"]}, "url":null }'
    headers = {
        "authorization": "Bearer ada",
        "content-type": "application/json",
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
    }
    answer = await platform.client.post(
        "/v1/sync-tasks", params={"model_endpoint_id": END}, content=body, headers=headers
    )
    assert answer.status_code == 200
    assert answer.content == b'{"status":"SUCCESS","result":{"result": %b},"traceback":null,"status_code":200}' % body
    assert answer.headers["content-type"] == "application/json"
    call = worker.calls[0]
    assert (call.path, call.body) == ("/predict", body)
    assert call.headers["content-type"] == "application/json"
    assert call.headers["traceparent"].startswith(f"00-{'a' * 32}-")
    assert "authorization" not in call.headers


async def test_the_caller_may_choose_the_path(platform: Platform) -> None:
    worker = await platform.add_worker(echo)
    await platform.call(body={"destination_path": "/v1/other?q=1"})
    assert (worker.calls[0].path, worker.calls[0].query) == ("/v1/other", b"q=1")


async def test_who_may_call(platform: Platform) -> None:
    await platform.add_worker(echo)
    assert (await platform.call(headers={})).status_code == 401
    foreign = await platform.call(headers={"authorization": "Bearer bob"})
    unknown = await platform.call(params={"model_endpoint_id": "end_none"})
    platform.add_endpoint(id="end_2", deletion_requested=True)
    deleting = await platform.call(params={"model_endpoint_id": "end_2"})
    for answer in (foreign, unknown, deleting):
        assert answer.status_code == 404
        assert answer.json()["detail"] == "The specified endpoint could not be found."
    platform.add_endpoint(public_inference=True)
    assert (await platform.call(headers={"authorization": "Bearer bob"})).status_code == 200


async def test_authentication_comes_before_validation(platform: Platform) -> None:
    answer = await platform.client.post("/v1/sync-tasks", content=b"{")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_type_must_fit(platform: Platform) -> None:
    platform.add_endpoint(endpoint_type=EndpointType.ASYNC)
    answer = await platform.call()
    assert answer.status_code == 400
    assert answer.json()["detail"] == f"Unsupported inference type: Endpoint {END} does not serve sync tasks."
    platform.add_endpoint(endpoint_type=EndpointType.STREAMING)
    await platform.add_worker(echo)
    assert (await platform.call()).status_code == 200


async def test_other_verbs_and_large_bodies_are_refused(start_platform: StartPlatform) -> None:
    platform = await start_platform(max_request_bytes=100)
    assert (await platform.client.get("/v1/sync-tasks")).status_code == 405
    assert (await platform.call(body={"args": "x" * 100})).status_code == 413

    async def pieces():
        for _ in range(20):
            yield b" " * 10

    streamed = await platform.client.post("/v1/sync-tasks", content=pieces(), headers={"authorization": "Bearer ada"})
    assert streamed.status_code == 413


async def test_beyond_the_bound_of_the_process_a_call_is_429(start_platform: StartPlatform) -> None:
    platform = await start_platform(max_predictions=1)
    worker = await platform.add_worker(hang)
    first = asyncio.create_task(platform.call())
    await eventually(lambda: worker.calls)
    second = await platform.call()
    assert second.status_code == 429
    assert second.headers["retry-after"] == "1"
    assert second.json()["error"] == second.json()["detail"] == "Too many requests"
    first.cancel()


async def test_a_call_waits_for_a_worker(platform: Platform) -> None:
    waiting = asyncio.create_task(platform.call())
    await eventually(lambda: platform.inference.hold.waiting() == {END: 1})
    await platform.add_worker(echo)
    assert (await waiting).json()["status"] == "SUCCESS"
    assert platform.inference.hold.waiting() == {}


async def test_the_hold_queue_is_bounded(start_platform: StartPlatform) -> None:
    platform = await start_platform(hold_max_requests=1)
    waiting = asyncio.create_task(platform.call())
    await eventually(lambda: platform.inference.hold.waiting() == {END: 1})
    refused = await platform.call()
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["code"] == "hold_queue_full"
    await platform.add_worker(echo)
    assert (await waiting).status_code == 200


async def test_the_deadline_counts_waiting_for_a_worker(platform: Platform) -> None:
    answer = await platform.call(body={"timeout_seconds": 0.05})
    assert answer.status_code == 408
    assert answer.json()["detail"] == "Request timed out."


async def test_the_deadline_cuts_a_running_call_and_the_worker_hears_of_it(platform: Platform) -> None:
    worker = await platform.add_worker(hang)
    answer = await platform.call(body={"timeout_seconds": 0.2})
    assert answer.status_code == 408
    await eventually(lambda: "gone" in worker.calls[0].headers)


@pytest.mark.parametrize(
    "change",
    [{"max_workers": 0}, {"phase": Phase.FAILED, "serving_generation": None}],
)
async def test_nobody_waits_for_a_worker_that_cannot_come(platform: Platform, change: dict[str, object]) -> None:
    platform.add_endpoint(**change)
    answer = await platform.call()
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "FAILURE",
        "result": None,
        "traceback": "No healthy upstream",
        "status_code": 503,
    }


async def test_a_waiting_call_ends_when_its_endpoint_fails_or_goes(platform: Platform) -> None:
    waiting = asyncio.create_task(platform.call())
    await eventually(lambda: platform.inference.hold.waiting() == {END: 1})
    platform.add_endpoint(deletion_requested=True)
    platform.inference.hold.notify(END)
    assert (await waiting).status_code == 404


async def test_a_busy_worker_is_passed_over_at_once(platform: Platform) -> None:
    busy_worker = await platform.add_worker(busy)
    await platform.add_worker(echo)
    answers = [await platform.call(body={"num_retries": 0}) for _ in range(30)]
    assert {answer.json()["status"] for answer in answers} == {"SUCCESS"}
    assert busy_worker.calls


@pytest.mark.parametrize(
    ("script", "status", "text"),
    [(busy, 429, "Too many concurrent requests"), (unhealthy, 503, "No healthy upstream")],
)
async def test_refusals_end_after_the_retries(platform: Platform, script: object, status: int, text: str) -> None:
    worker = await platform.add_worker(script)  # type: ignore[arg-type]  # the parameters of pytest are untyped
    answer = await platform.call(body={"num_retries": 1})
    assert answer.json() == {"status": "FAILURE", "result": None, "traceback": text, "status_code": status}
    assert len(worker.calls) == 2


async def test_a_retry_that_would_miss_the_deadline_is_not_waited_for(platform: Platform) -> None:
    worker = await platform.add_worker(busy)
    answer = await platform.call(body={"timeout_seconds": 0.4})
    assert answer.json()["status_code"] == 429
    assert len(worker.calls) == 1


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_a_dead_worker_costs_nothing_but_the_calls_at_it(platform: Platform) -> None:
    doomed = await platform.add_worker(echo)
    await platform.add_worker(echo)
    for _ in range(20):
        assert (await platform.call()).json()["status"] == "SUCCESS"
    assert doomed.calls
    doomed.stop.set()
    await eventually(lambda: refuses(doomed.port))
    answers = await asyncio.gather(*(platform.call(body={"num_retries": 0}) for _ in range(50)))
    assert {answer.json()["status"] for answer in answers} == {"SUCCESS"}


def refuses(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return False
    return True


async def test_when_all_refuse_the_call_waits_for_a_new_worker(platform: Platform) -> None:
    platform.observe(Worker(echo, "dead", closed_port()))
    assert (await platform.call(body={"num_retries": 0})).json()["traceback"] == "No healthy upstream"
    waiting = asyncio.create_task(platform.call())
    await eventually(lambda: platform.inference.hold.waiting() == {END: 1})
    await platform.add_worker(echo)
    assert (await waiting).json()["status"] == "SUCCESS"


async def test_a_call_that_a_worker_may_have_run_is_not_repeated(platform: Platform) -> None:
    calls: list[bytes] = []

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    async with server:
        platform.observe(Worker(echo, "cut", server.sockets[0].getsockname()[1]))
        answer = await platform.call()
    assert (answer.status_code, answer.json()["code"]) == (502, "worker_failed")
    assert len(calls) == 1


async def test_a_worker_error_is_not_repeated_and_keeps_its_traceback(platform: Platform) -> None:
    async def fail(call: Exchange) -> None:
        await call.answer(b'{"detail":{"traceback":"ZeroDivisionError"}}', 500)

    worker = await platform.add_worker(fail)
    answer = (await platform.call()).json()
    assert (answer["status"], answer["traceback"], answer["status_code"]) == ("FAILURE", "ZeroDivisionError", 500)
    assert len(worker.calls) == 1


async def test_an_answer_beyond_the_bound_is_an_error(start_platform: StartPlatform) -> None:
    platform = await start_platform(max_response_bytes=100)

    async def large(call: Exchange) -> None:
        await call.answer(b'"' + b"x" * 200 + b'"')

    await platform.add_worker(large)
    answer = await platform.call()
    assert (answer.status_code, answer.json()["code"]) == (502, "worker_answer_too_large")


@pytest.mark.parametrize("held", [False, True])
async def test_a_client_that_leaves_frees_everything(platform: Platform, held: bool) -> None:
    worker = None if held else await platform.add_worker(hang)
    with pytest.raises(httpx.ReadTimeout):
        await platform.call(timeout=0.3)
    if worker is not None:
        await eventually(lambda: "gone" in worker.calls[0].headers)
    await eventually(lambda: platform.inference.hold.waiting() == {})


async def test_a_drain_sends_held_calls_away_and_lets_running_ones_finish(platform: Platform) -> None:
    released = asyncio.Event()

    async def slow(call: Exchange) -> None:
        await released.wait()
        await call.answer(b"1")

    platform.add_endpoint(id="end_cold")
    worker = await platform.add_worker(slow)
    running = asyncio.create_task(platform.call())
    held = asyncio.create_task(platform.call(params={"model_endpoint_id": "end_cold"}))
    await eventually(lambda: worker.calls and platform.inference.hold.waiting() == {"end_cold": 1})
    platform.inference.hold.close()
    away = await held
    assert (away.status_code, away.headers["retry-after"], away.json()["code"]) == (503, "1", "shutting_down")
    released.set()
    assert (await running).json()["result"] == 1


async def test_hooks_are_told_what_the_worker_said_or_why_it_failed(platform: Platform) -> None:
    platform.documents[END] = endpoint_document(post_inference_hooks=("callback",))
    platform.inference.directory.invalidate(END)
    await platform.add_worker(echo)
    await platform.call("sync", {"args": 1, "callback_url": "http://c/"})
    platform.workers[0].script = unhealthy
    await platform.call("sync", {"args": 1, "num_retries": 0})
    (told, answer), (untold, failure) = platform.hooks.seen
    assert told.callback is not None
    assert (told.callback.url, answer[:11]) == ("http://c/", b'{"result": ')
    assert untold.callback is None
    assert failure.startswith(b'{"status":"FAILURE"')
