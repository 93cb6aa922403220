"""What tasks survive: a busy or lost model server, a stop, the queue's outage, the worker's death."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator

import pytest

from model_engine_contracts.events import TaskExpired, TaskOutcome, new_event, parse_event
from model_engine_contracts.subjects import result_subject, task_subject
from model_engine_contracts.topology import RESULTS, TASKS, task_durable
from model_engine_forwarder import task_queue
from model_engine_local.testing import eventually


def _http(status: int, body: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


async def hang(connection, request) -> None:
    await connection.gone()


@pytest.mark.parametrize("first", ["429", "503", "drop"])
async def test_a_busy_or_lost_model_server_brings_the_task_back(queue, model, work, first) -> None:
    async def reply(connection, request) -> None:
        if len(model.requests) > 1:
            await connection.send(b"HTTP/1.1 200 X\r\ncontent-length: 1\r\n\r\n1")
        elif first == "drop":
            connection.writer.close()
        else:
            await connection.send(f"HTTP/1.1 {first} X\r\ncontent-length: 0\r\n\r\n".encode())

    model.reply = reply
    async with work():
        await queue.put()
        [report] = await queue.completed()
    assert (report.outcome, report.delivery, len(model.requests)) == (TaskOutcome.SUCCESS, 2, 2)


@pytest.mark.parametrize("always", ["503", "drop"])
async def test_the_last_delivery_tells_what_was_wrong(queue, model, work, always, monkeypatch) -> None:
    monkeypatch.setattr(task_queue, "TASK_MAX_DELIVER", 2)

    async def reply(connection, request) -> None:
        if always == "drop":
            connection.writer.close()
        else:
            await connection.send(b"HTTP/1.1 503 X\r\ncontent-length: 4\r\n\r\nnull")

    model.reply = reply
    async with work():
        await queue.put()
        [report] = await queue.completed()
    assert report.delivery == 2
    if always == "503":
        assert (report.outcome, report.status_code) == (TaskOutcome.SUCCESS, 503)
    else:
        assert report.outcome is TaskOutcome.FAILURE
        assert "closed the connection" in report.error
        assert "Traceback" in report.traceback


@pytest.mark.parametrize("payload", [b"nonsense", b"event"])
async def test_what_is_no_task_is_terminated(queue, model, work, payload) -> None:
    if payload == b"event":
        expired = TaskExpired(task_id="t", endpoint_id=queue.endpoint_id, attempt=1, delivery=1, worker_id="w")
        payload = new_event(expired, source="x").model_dump_json().encode()
    await queue.js.publish(task_subject(queue.endpoint_id), payload, stream=TASKS.name)
    async with work():
        await queue.emptied()
        await queue.put()
        await queue.completed()
    assert len(model.requests) == 1


async def test_nothing_is_pulled_while_the_model_server_is_not_ready(queue, model, work) -> None:
    model.health = b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n"
    await queue.put()
    async with work() as (forwarder, _):
        await eventually(lambda: "503" in (forwarder.readiness.problem or ""))
        info = await queue.js.consumer_info(TASKS.name, task_durable(queue.endpoint_id))
        assert (info.num_pending, info.num_ack_pending, info.num_waiting) == (1, 0, 0)
        model.health = b"HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n"
        assert [report.delivery for report in await queue.completed()] == [1]


async def test_a_stop_finishes_what_runs_and_leaves_the_rest(queue, model, work) -> None:
    go_on = asyncio.Event()

    async def reply(connection, request) -> None:
        await go_on.wait()
        await connection.send(b"HTTP/1.1 200 X\r\ncontent-length: 1\r\n\r\n1")

    model.reply = reply
    for _ in range(3):
        await queue.put()
    async with work(concurrency=1) as (_, stop):
        await eventually(lambda: model.requests)
        stop.set()
        go_on.set()
    assert len(await queue.completed()) == len(model.requests) == 1
    assert await queue.left() == 2


async def test_a_run_that_outlasts_the_drain_goes_back_at_once(queue, model, work) -> None:
    model.reply = hang
    await queue.put()
    async with work(graceful=0.1) as (_, stop):
        await eventually(lambda: model.requests)
        stop.set()
    model.reply = b"HTTP/1.1 200 X\r\ncontent-length: 1\r\n\r\n1"
    async with work():
        [report] = await queue.completed()
    assert (report.outcome, report.delivery) == (TaskOutcome.SUCCESS, 2)


async def test_a_result_that_no_message_holds_is_a_failure_that_says_so(queue, model, work, monkeypatch) -> None:
    async with work():
        await queue.put("x" * (5 << 20))
        [report] = await queue.completed()
        assert report.outcome is TaskOutcome.SUCCESS
        model.reply = b"HTTP/1.1 200 X\r\ncontent-length: %d\r\n\r\n" % (9 << 20) + b'"%b"' % (b"x" * ((9 << 20) - 2))
        await queue.put()
        report = (await queue.completed(2))[1]
    assert report.outcome is TaskOutcome.FAILURE
    assert "larger than" in report.error
    assert "ME_GATEWAY_URL" in report.error
    assert report.traceback


async def test_a_result_that_no_message_holds_is_stored_and_named(queue, model, work) -> None:
    big = b'"%b"' % (b"x" * (9 << 20))
    stored = b'{"result_id":"res_1","result_url":"http://gateway/res_1","sha256":"%b","size":%d}' % (b"a" * 64, 9 << 20)
    answers = [_http(503), _http(200, stored)]

    async def reply(connection, request) -> None:
        await connection.send(answers.pop(0) if request.method == "PUT" else _http(200, big))

    model.reply = reply
    async with work():
        await queue.put(upload_url=f"http://127.0.0.1:{model.port}/v1/results/res_1?signature=x")
        [report] = await queue.completed()
        await queue.emptied()
    assert (report.outcome, report.result, report.stored_result.id) == (TaskOutcome.SUCCESS, None, "res_1")
    sent = [request for request in model.requests if request.method == "PUT"]
    assert [request.target for request in sent] == ["/v1/results/res_1?signature=x"] * 2
    assert json.loads(json.loads(sent[-1].body)["result"]) == json.loads(big)


async def test_storage_that_refuses_a_result_fails_the_task(queue, model, work) -> None:
    async def reply(connection, request) -> None:
        refused = _http(413, b'{"detail":"too large"}')
        await connection.send(refused if request.method == "PUT" else _http(200, b'"%b"' % (b"x" * (9 << 20))))

    model.reply = reply
    async with work():
        await queue.put(upload_url=f"http://127.0.0.1:{model.port}/v1/results/res_1")
        [report] = await queue.completed()
    assert report.outcome is TaskOutcome.FAILURE
    assert "413" in report.error
    assert "too large" in report.error


@pytest.mark.parametrize(("fields", "handed_on"), [({"return_pickled": True}, True), ({}, False)])
async def test_the_model_gets_the_address_for_a_pickle_only_when_one_is_wanted(
    queue, model, work, fields, handed_on
) -> None:
    async with work():
        await queue.put(request=json.dumps({"args": {}, **fields}), upload_url="http://gateway/v1/results/res_1")
        await queue.completed()
    assert bool(model.requests[0].header("x-model-engine-upload-url")) is handed_on


async def test_a_report_survives_an_outage_of_the_queue(queue, model, work, nats_server) -> None:
    go_on = asyncio.Event()

    async def reply(connection, request) -> None:
        await go_on.wait()
        await connection.send(b"HTTP/1.1 200 X\r\ncontent-length: 1\r\n\r\n1")

    model.reply = reply
    async with work():
        await queue.put()
        await eventually(lambda: model.requests)
        nats_server.kill()
        go_on.set()
        nats_server.start()
        await queue.emptied()
    # Read from the stream: whoever subscribes may have been away just when the report came.
    stored = await queue.js.get_last_msg(RESULTS.name, result_subject(queue.endpoint_id))
    assert parse_event(stored.data).data.outcome is TaskOutcome.SUCCESS


@contextlib.asynccontextmanager
async def process(tmp_path, queue, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    path = tmp_path / "worker.json"
    path.write_text(json.dumps(queue.config(port)))
    command = [sys.executable, "-m", "model_engine_forwarder", "--config", str(path), "--num-workers", "1"]
    running = await asyncio.create_subprocess_exec(
        *command, "--host", "127.0.0.1", "--port", "0", env={**os.environ, "ME_NATS_URL": queue.url}
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.terminate()
        await running.wait()


async def test_a_killed_worker_loses_no_task(queue, model, tmp_path) -> None:
    model.reply = hang
    async with process(tmp_path, queue, model.port) as worker:
        task_id = await queue.put()
        await eventually(lambda: model.requests)
        worker.kill()
        await worker.wait()
    model.reply = b"HTTP/1.1 200 X\r\ncontent-length: 1\r\n\r\n1"
    async with process(tmp_path, queue, model.port) as worker:
        [report] = await queue.completed()
        await queue.emptied()
    assert (report.task_id, report.outcome, report.delivery) == (task_id, TaskOutcome.SUCCESS, 2)
    assert worker.returncode == 0
