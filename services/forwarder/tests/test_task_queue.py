"""The queue side against a real NATS server: outcomes, retries, deadlines, readiness, stop and death."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nats.js import JetStreamContext
from prometheus_client import CollectorRegistry

from model_engine_chassis.nats_connection import connect
from model_engine_chassis.publish import publish_task
from model_engine_chassis.topology_ensure import ensure_consumer, ensure_topology
from model_engine_contracts.events import (
    EventData,
    TaskCompleted,
    TaskExpired,
    TaskOutcome,
    TaskStarted,
    TaskSubmitted,
    new_event,
    parse_event,
)
from model_engine_contracts.subjects import result_subject, task_subject
from model_engine_contracts.topology import TASKS, task_consumer, task_durable
from model_engine_forwarder import task_queue
from model_engine_forwarder.app import Forwarder, build
from model_engine_forwarder.config import Config

ENDPOINT = "end_0123456789"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass
class Queue:
    """The endpoint's queue and what its workers report."""

    js: JetStreamContext
    url: str
    reports: list[EventData] = field(default_factory=list)
    ids: int = 0

    async def put(
        self, args: Any = None, *, request: str | None = None, expires: float = 60, timeout: float = 10
    ) -> str:
        self.ids += 1
        now = datetime.now(UTC)
        task = TaskSubmitted(
            task_id=f"task-{self.ids}",
            endpoint_id=ENDPOINT,
            owner="owner",
            attempt=1,
            request=json.dumps({"args": {} if args is None else args}) if request is None else request,
            submitted_at=now,
            expires_at=now + timedelta(seconds=expires),
            timeout_seconds=timeout,
        )
        await publish_task(self.js, new_event(task, source="gateway", owner="owner", traceparent=TRACEPARENT))
        return task.task_id

    async def completed(self, count: int = 1) -> list[TaskCompleted]:
        await eventually(lambda: len(self.of(TaskCompleted)) >= count)
        return self.of(TaskCompleted)

    def of(self, kind: type) -> list:
        return [report for report in self.reports if isinstance(report, kind)]

    async def left(self) -> int:
        return (await self.js.stream_info(TASKS.name)).state.messages


async def eventually(condition, seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while True:
            value = condition()
            if await value if asyncio.iscoroutine(value) else value:
                return
            await asyncio.sleep(0.01)


@pytest.fixture
async def queue(nats_settings) -> AsyncIterator[Queue]:
    client = await connect(nats_settings, "test")
    js = client.jetstream()
    await ensure_topology(js)
    await ensure_consumer(js, replace(task_consumer(ENDPOINT, 4, 1), ack_wait=1.0))
    queue = Queue(js, nats_settings.nats_url)

    async def note(message) -> None:
        queue.reports.append(parse_event(message.data).data)

    await client.subscribe(result_subject(ENDPOINT), cb=note)
    yield queue
    await client.close()


def config_of(port: int, concurrency: int = 4, **block: Any) -> dict[str, Any]:
    place = {"user_port": port, "user_hostname": "127.0.0.1", "forward_http_status_in_body": True, **block}
    worker_queue = {"stream": TASKS.name, "durable": task_durable(ENDPOINT), "concurrency": concurrency}
    worker = {"endpoint_id": ENDPOINT, "worker_id": "w1", "owner": "owner", "queue": worker_queue}
    return {"async": place, "worker": worker, "drain_delay_seconds": 0.0}


@pytest.fixture
def work(queue, model, monkeypatch) -> Any:
    """Start a worker; `async with work(...) as (forwarder, stop)` stops and drains it at the end of the block."""
    monkeypatch.setenv("ME_NATS_URL", queue.url)

    @contextlib.asynccontextmanager
    async def start(graceful: float = 5.0, **options: Any) -> AsyncIterator[tuple[Forwarder, asyncio.Event]]:
        forwarder = build(Config.model_validate(config_of(model.port, **options)), CollectorRegistry())
        assert forwarder.run_tasks is not None
        stop = asyncio.Event()
        following = asyncio.create_task(forwarder.readiness.follow())
        running = asyncio.create_task(forwarder.run_tasks(stop, graceful))
        try:
            yield forwarder, stop
        finally:
            stop.set()
            await running
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            forwarder.pool.close()

    return start


@pytest.mark.parametrize(
    ("block", "sent", "result", "status_code"),
    [
        ({}, b'{"a":1}', '{"result":"{\\"a\\": 1}"}', 200),
        ({"serialize_results_as_string": False}, b'{"a":1}', '{"result":{"a":1}}', 200),
        ({"forward_http_status_in_body": False}, b'{"a":1}', '{"result":"{\\"a\\": 1}"}', None),
        (
            {"model_engine_unwrap": False, "wrap_response": False},
            b'{"url":null,"args":{"a":1},"cloudpickle":null,"callback_url":null,"callback_auth":null,'
            b'"return_pickled":false,"destination_path":null}',
            None,
            200,
        ),
    ],
)
async def test_result(queue, model, work, block, sent, result, status_code) -> None:
    async with work(**block):
        task_id = await queue.put({"a": 1})
        [report] = await queue.completed()
        await eventually(lambda: is_empty(queue))
    [request] = model.requests
    assert request.body == sent
    assert request.header("traceparent")[0].split("-")[1] == TRACEPARENT.split("-")[1]
    assert (report.outcome, report.status_code, report.error) == (TaskOutcome.SUCCESS, status_code, None)
    assert report.result == (result or sent.decode())
    assert (report.task_id, report.attempt, report.delivery, report.worker_id) == (task_id, 1, 1, "w1")
    assert not queue.of(TaskStarted)


async def is_empty(queue: Queue) -> bool:
    return await queue.left() == 0


@pytest.mark.parametrize("status", [400, 404, 422, 500])
async def test_an_error_of_the_model_is_a_success_with_its_status(queue, model, work, status) -> None:
    model.reply = b'HTTP/1.1 %d X\r\ncontent-length: 7\r\n\r\n{"e":1}' % status
    async with work():
        await queue.put()
        [report] = await queue.completed()
    assert (report.outcome, report.status_code) == (TaskOutcome.SUCCESS, status)
    assert report.result == '{"result":"{\\"e\\": 1}"}'


@pytest.mark.parametrize(
    ("request_text", "reply", "error"),
    [
        ('{"args":null}', None, "Field required"),
        ('{"args":5}', None, "Input should be an object"),
        ("nonsense", None, "JSON decode error"),
        (
            '{"args":{}}',
            b"HTTP/1.1 200 X\r\ncontent-length: 4\r\n\r\noops",
            "answered 200 with a body that is not usable",
        ),
        ('{"args":{}}', b"garbage\r\n\r\n", "not valid HTTP"),
    ],
)
async def test_a_failure_has_its_traceback(queue, model, work, request_text, reply, error) -> None:
    model.reply = reply
    async with work():
        await queue.put(request=request_text)
        [report] = await queue.completed()
        await eventually(lambda: is_empty(queue))
    assert (report.outcome, report.result, report.status_code) == (TaskOutcome.FAILURE, None, None)
    assert error in report.error
    assert "Traceback" in report.traceback


async def hang(connection, request) -> None:
    await connection.gone()


async def test_the_deadline_of_a_run_ends_it(queue, model, work) -> None:
    model.reply = hang
    async with work():
        await queue.put(timeout=0.2)
        [report] = await queue.completed()
    assert report.outcome is TaskOutcome.FAILURE
    assert "deadline of 0.2 s" in report.error
    assert queue.of(TaskStarted)


async def test_an_expired_task_is_not_run(queue, model, work) -> None:
    await queue.put(expires=-1)
    async with work():
        await eventually(lambda: queue.of(TaskExpired))
        await eventually(lambda: is_empty(queue))
    assert not model.requests


async def test_a_slow_run_is_reported_as_started(queue, model, work) -> None:
    async def slow(connection, request) -> None:
        await eventually(lambda: queue.of(TaskStarted))
        await connection.send(b"HTTP/1.1 200 X\r\ncontent-length: 1\r\n\r\n1")

    model.reply = slow
    async with work():
        await queue.put()
        await queue.completed()
    assert [type(report) for report in queue.reports] == [TaskStarted, TaskCompleted]


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
        expired = TaskExpired(task_id="t", endpoint_id=ENDPOINT, attempt=1, delivery=1, worker_id="w")
        payload = new_event(expired, source="x").model_dump_json().encode()
    await queue.js.publish(task_subject(ENDPOINT), payload, stream=TASKS.name)
    async with work():
        await eventually(lambda: is_empty(queue))
        await queue.put()
        await queue.completed()
    assert len(model.requests) == 1


async def test_nothing_is_pulled_while_the_model_server_is_not_ready(queue, model, work) -> None:
    model.health = b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n"
    await queue.put()
    async with work() as (forwarder, _):
        await eventually(lambda: "503" in (forwarder.readiness.problem or ""))
        info = await queue.js.consumer_info(TASKS.name, task_durable(ENDPOINT))
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
    assert report.traceback


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
        await queue.completed()
        await eventually(lambda: is_empty(queue), 20)
    assert {report.outcome for report in queue.of(TaskCompleted)} == {TaskOutcome.SUCCESS}


@contextlib.asynccontextmanager
async def process(tmp_path, queue: Queue, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    path = tmp_path / "worker.json"
    path.write_text(json.dumps(config_of(port)))
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
        await eventually(lambda: is_empty(queue))
    assert (report.task_id, report.outcome, report.delivery) == (task_id, TaskOutcome.SUCCESS, 2)
    assert worker.returncode == 0
