"""What becomes of tasks: results, errors of the model, failures, deadlines, expiry."""

import pytest

from model_engine_contracts.events import TaskCompleted, TaskExpired, TaskOutcome, TaskStarted
from model_engine_local.testing import eventually


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
        await queue.emptied()
    [request] = model.requests
    assert request.body == sent
    assert request.header("traceparent")[0].split("-")[1] == queue.traceparent.split("-")[1]
    assert (report.outcome, report.status_code, report.error) == (TaskOutcome.SUCCESS, status_code, None)
    assert report.result == (result or sent.decode())
    assert (report.task_id, report.attempt, report.delivery, report.worker_id) == (task_id, 1, 1, "w1")
    assert not queue.of(TaskStarted)


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
        await queue.emptied()
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
        await queue.emptied()
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
