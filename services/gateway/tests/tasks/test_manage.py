"""Owners cancel tasks and run failed ones again: once, whatever happens at the same time."""

import asyncio
from typing import Any

import pytest

from model_engine_contracts.api.tasks import TaskStatus
from model_engine_contracts.cancellation import CancelledTask
from model_engine_contracts.subjects import task_cancelled_subject
from model_engine_gateway.domain.invalid import Invalid
from model_engine_gateway.errors import ApiError
from model_engine_gateway.tasks.manage import read_cursor
from model_engine_local.testing import eventually

from .conftest import END, Bench
from .test_results import all_read, failed, report, started, succeeded

UNDEFINED = {"status": "UNDEFINED", "result": None, "traceback": None, "status_code": None}


async def heard(bench: Bench) -> list[CancelledTask]:
    """The cancellations that workers are told of from now on."""
    notices: list[CancelledTask] = []

    async def hear(message: Any) -> None:
        notices.append(CancelledTask.model_validate_json(message.data))

    await bench.nats.subscribe(task_cancelled_subject(END), cb=hear)
    await bench.nats.flush()
    return notices


async def test_a_queued_task_is_cancelled(bench: Bench) -> None:
    notices = await heard(bench)
    task_id = await bench.submit()
    answer = await bench.service.managed.cancel(bench.caller(), task_id)
    assert (answer.cancelled, answer.status) == (True, TaskStatus.UNDEFINED)
    assert await bench.queued() == []
    assert await bench.get(task_id) == UNDEFINED
    await eventually(lambda: notices)
    assert (notices[0].task_id, notices[0].attempt) == (task_id, 1)
    document = await bench.document(task_id)
    assert [event["type"] for event in document["outbox"]] == ["modelengine.task.cancelled.v1"]
    assert "request" not in document
    again = await bench.service.managed.cancel(bench.caller(), task_id)
    assert again == answer
    assert len((await bench.document(task_id))["outbox"]) == 1
    await bench.sweep.round()
    assert await bench.queued() == []


async def test_a_result_that_comes_after_the_cancellation_loses(bench: Bench) -> None:
    task_id = await bench.submit()
    [message] = await bench.pull()
    async with bench.results():
        await report(bench, started(task_id))
        await all_read(bench)
        assert (await bench.service.managed.cancel(bench.caller(), task_id)).cancelled
        await report(bench, succeeded(task_id))
        await all_read(bench)
    await message.ack()
    assert await bench.get(task_id) == UNDEFINED
    assert await bench.queued() == []


async def test_a_task_that_has_ended_stays_as_it_is(bench: Bench) -> None:
    task_id = await bench.submit()
    async with bench.results():
        await report(bench, succeeded(task_id))
        await all_read(bench)
    answer = await bench.service.managed.cancel(bench.caller(), task_id)
    assert (answer.cancelled, answer.status) == (False, TaskStatus.SUCCESS)
    for caller, unknown in ((bench.caller("bob"), task_id), (bench.caller(), "no-task")):
        with pytest.raises(ApiError) as caught:
            await bench.service.managed.cancel(caller, unknown)
        assert (caught.value.status, caught.value.detail) == (404, "The specified task could not be found.")


async def fail(bench: Bench) -> str:
    task_id = await bench.submit()
    [message] = await bench.pull()
    async with bench.results():
        await report(bench, failed(task_id))
        await all_read(bench)
    await message.ack()
    return task_id


async def test_a_failed_task_is_kept_with_what_a_replay_needs(bench: Bench) -> None:
    answer = await bench.post({"args": 1, "callback_auth": {"kind": "basic", "username": "u", "password": "hidden"}})
    task_id = answer.json()["task_id"]
    other = await bench.submit()
    async with bench.results():
        await report(bench, failed(task_id), succeeded(other))
        await all_read(bench)
    listed = await bench.service.managed.dead_letters(bench.caller(), END, None, 10)
    [letter] = listed.dead_letters
    assert (letter.task_id, letter.attempt, letter.deliveries, letter.error) == (task_id, 1, 1, "boom")
    shown = await bench.service.managed.dead_letter(bench.caller(), task_id)
    assert (shown.traceback, shown.worker, shown.expires_seconds) == ("Traceback: boom", "w1", 86_400)
    assert '"args": 1' in shown.request
    assert "hidden" not in shown.request
    assert (await bench.service.managed.dead_letters(bench.caller("bob"), None, None, 10)).dead_letters == []
    for caller, unknown in ((bench.caller("bob"), task_id), (bench.caller(), other)):
        with pytest.raises(ApiError) as caught:
            await bench.service.managed.dead_letter(caller, unknown)
        assert caught.value.status == 404


async def test_a_failed_task_runs_again_once(bench: Bench) -> None:
    task_id = await fail(bench)
    outcomes = await asyncio.gather(
        *(bench.service.managed.replay(bench.caller(), task_id) for _ in range(5)), return_exceptions=True
    )
    [replayed] = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert replayed.attempt == 2
    assert all(isinstance(outcome, ApiError) for outcome in outcomes if outcome is not replayed)
    [message] = await bench.queued()
    assert (message.task_id, message.attempt, message.request) == (task_id, 2, '{"args":{"x":1}}')
    assert (await bench.get(task_id))["status"] == "PENDING"
    async with bench.results():
        await report(bench, failed(task_id, "late", attempt=1), succeeded(task_id, attempt=2))
        await all_read(bench)
    assert (await bench.get(task_id))["status"] == "SUCCESS"
    types = [event["type"] for event in (await bench.document(task_id))["outbox"]]
    assert types == ["modelengine.task.failed.v1", "modelengine.task.replayed.v1"]


async def test_a_process_that_dies_within_a_replay_loses_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    task_id = await fail(bench)

    async def die(task: object) -> int:
        raise TimeoutError

    with monkeypatch.context() as dying:
        dying.setattr(bench.service._queue, "publish", die)
        await bench.service.managed.replay(bench.caller(), task_id)
    assert await bench.queued() == []
    await bench.sweep.round()
    assert [message.attempt for message in await bench.queued()] == [2]


@pytest.mark.parametrize("cursor", ["x", "é", "", "OTk5OTk5OTk5OTk5OTk5OTk5OTo", "bm8gbnVtYmVyOng"])
def test_a_cursor_that_is_none_is_refused(cursor: str) -> None:
    with pytest.raises(Invalid):
        read_cursor(cursor)
