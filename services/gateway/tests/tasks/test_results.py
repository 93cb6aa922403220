"""Reports of workers: applied once, the first result wins, failures reach the history."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from model_engine_chassis.publish import publish_result
from model_engine_contracts.envelope import new_event
from model_engine_contracts.events import TaskCompleted, TaskExpired, TaskOutcome, TaskStarted
from model_engine_contracts.subjects import result_subject
from model_engine_contracts.topology import GATEWAY_RESULTS, RESULTS
from model_engine_gateway.clock import now
from model_engine_gateway.tasks.repository import TASKS
from model_engine_gateway.tasks.results import Results
from model_engine_local.testing import eventually

from .conftest import DAY, END, Bench

COMMON = {"endpoint_id": END, "delivery": 1, "worker_id": "w1"}


def started(task_id: str, attempt: int = 1) -> TaskStarted:
    return TaskStarted(task_id=task_id, attempt=attempt, **COMMON)


def succeeded(task_id: str, result: str = '{"result": "5"}', attempt: int = 1, status_code: int = 200) -> TaskCompleted:
    return TaskCompleted(
        task_id=task_id,
        attempt=attempt,
        outcome=TaskOutcome.SUCCESS,
        result=result,
        status_code=status_code,
        started_at=now(),
        finished_at=now(),
        **COMMON,
    )


def failed(task_id: str, error: str = "boom", attempt: int = 1) -> TaskCompleted:
    return TaskCompleted(
        task_id=task_id,
        attempt=attempt,
        outcome=TaskOutcome.FAILURE,
        error=error,
        traceback=f"Traceback: {error}",
        started_at=now(),
        finished_at=now(),
        **COMMON,
    )


async def report(bench: Bench, *reports: Any) -> None:
    for data in reports:
        await publish_result(bench.js, new_event(data, source="test"))


async def all_read(bench: Bench) -> None:
    async def empty() -> bool:
        return bool((await bench.js.stream_info(RESULTS.name)).state.messages == 0)

    await eventually(empty)


async def test_a_task_is_seen_to_start_and_to_succeed(bench: Bench) -> None:
    task_id = await bench.submit()
    async with bench.results():
        await report(bench, started(task_id))
        await all_read(bench)
        assert (await bench.get(task_id))["status"] == "STARTED"
        await report(bench, succeeded(task_id, '{"result": "{\\"y\\": 1.50}"}', status_code=404))
        await all_read(bench)
    assert await bench.get(task_id) == {
        "status": "SUCCESS",
        "result": {"result": '{"y": 1.50}'},
        "traceback": None,
        "status_code": 404,
    }
    document = await bench.document(task_id)
    assert {"open", "unpublished", "request", "outbox"} & set(document) == set()
    assert document["delete_at"] - document["finished_at"] >= DAY


async def test_the_first_result_wins(bench: Bench) -> None:
    task_id = await bench.submit()
    async with bench.results():
        await report(bench, succeeded(task_id, '"first"'))
        await all_read(bench)
        await report(bench, succeeded(task_id, '"second"'), failed(task_id), started(task_id))
        await report(bench, TaskExpired(task_id=task_id, attempt=1, **COMMON))
        await all_read(bench)
    assert (await bench.get(task_id))["result"] == "first"


async def test_a_failure_says_why_and_enters_the_outbox(bench: Bench) -> None:
    task_id = await bench.submit()
    async with bench.results():
        await report(bench, failed(task_id))
        await all_read(bench)
    assert await bench.get(task_id) == {
        "status": "FAILURE",
        "result": "boom",
        "traceback": "Traceback: boom",
        "status_code": None,
    }
    [event] = (await bench.document(task_id))["outbox"]
    assert (event["type"], event["owner"]) == ("modelengine.task.failed.v1", "ada")
    assert (event["data"]["endpoint_id"], event["data"]["error"]) == (END, "boom")


async def test_an_attempt_that_was_given_up_may_succeed_but_not_fail(bench: Bench) -> None:
    for task_id in ("t1", "t2"):
        task = await bench.insert(task_id)
        await bench.tasks.requeue([task], now())
    async with bench.results():
        await report(bench, failed("t1"), started("t1"), failed("t2"), succeeded("t2", '"old"'))
        await all_read(bench)
        assert (await bench.get("t1"))["status"] == "PENDING"
        assert (await bench.get("t2"))["result"] == "old"
        await report(bench, failed("t1", attempt=2))
        await all_read(bench)
    assert (await bench.get("t1"))["status"] == "FAILURE"


async def test_an_expired_task_is_undefined(bench: Bench) -> None:
    task_id = await bench.submit()
    async with bench.results():
        await report(bench, TaskExpired(task_id=task_id, attempt=1, **COMMON))
        await all_read(bench)
    assert await bench.get(task_id) == {"status": "UNDEFINED", "result": None, "traceback": None, "status_code": None}


async def test_a_process_that_dies_before_the_acknowledgement_repeats_nothing(bench: Bench) -> None:
    task_id = await bench.submit()
    await report(bench, failed(task_id))
    subscription = await bench.js.pull_subscribe_bind(GATEWAY_RESULTS.durable, stream=RESULTS.name)
    [message] = await subscription.fetch(1, timeout=5)
    await Results(bench.tasks).handle(message)
    before = await bench.document(task_id)
    await message.nak()  # what the server does after the ack wait
    async with bench.results():
        await all_read(bench)
    assert await bench.document(task_id) == before
    assert len(before["outbox"]) == 1


@pytest.mark.parametrize("raw", [b"{", b'{"type":"modelengine.task.completed.v1"}'])
async def test_what_is_no_report_does_not_come_again(bench: Bench, raw: bytes) -> None:
    await bench.js.publish(result_subject(END), raw, stream=RESULTS.name)
    async with bench.results():
        await all_read(bench)


async def test_many_reports_are_written_in_bulk(bench: Bench) -> None:
    ids = [f"t{number}" for number in range(300)]
    for task_id in ids:
        await bench.insert(task_id)
        await report(bench, succeeded(task_id, f'"{task_id}"'))
    async with bench.results():
        await all_read(bench)
    results = {found["_id"]: found["result"] async for found in bench.database[TASKS].find({"state": "SUCCESS"})}
    assert results == {task_id: f'"{task_id}"' for task_id in ids}


async def test_finished_tasks_are_kept_for_the_retention(bench: Bench) -> None:
    indexes = await bench.database[TASKS].index_information()
    assert indexes["retention"]["expireAfterSeconds"] == 0
    assert indexes["retention"]["key"] == [("delete_at", 1)]
    await bench.insert("t1")
    async with bench.results():
        await report(bench, succeeded("t1"))
        await all_read(bench)
    assert (await bench.document("t1"))["delete_at"] > datetime.now(UTC) + timedelta(hours=23)
