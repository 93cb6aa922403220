"""A cancelled task stops at the model server, leaves the queue and reports nothing."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from nats.aio.msg import Msg

from model_engine_chassis.nats_connection import connect
from model_engine_contracts.cancellation import CancelledTask
from model_engine_contracts.events import TaskSubmitted
from model_engine_contracts.subjects import task_cancelled_subject
from model_engine_forwarder.task_cancellations import Cancellations, RunCancelled
from model_engine_local.testing import eventually

from .conftest import ENDPOINT


def notice(task_id: str, attempt: int = 1) -> bytes:
    return CancelledTask(task_id=task_id, attempt=attempt).model_dump_json().encode()


async def test_a_running_task_stops(queue: Any, model: Any, work: Any, nats_settings: Any) -> None:
    gone = asyncio.Event()

    async def hang(connection: Any, request: Any) -> None:
        await connection.gone()
        gone.set()

    model.reply = hang
    gateway = await connect(nats_settings, "gateway")
    async with work():
        task_id = await queue.put()
        await eventually(lambda: model.requests)
        for text in (b"nonsense", notice("another-task"), notice(task_id), notice(task_id)):
            await gateway.publish(task_cancelled_subject(ENDPOINT), text)
        async with asyncio.timeout(5):
            await gone.wait()
        await queue.emptied()
        model.reply = None
        other = await queue.put()
        [report] = await queue.completed()
    await gateway.close()
    assert report.task_id == other


async def test_what_comes_after_its_cancellation_is_not_run_unless_it_is_a_later_attempt() -> None:
    cancellations = Cancellations()
    await cancellations.hear(Msg(_client=None, data=notice("t", 2)))  # type: ignore[arg-type]  # a message from nowhere
    for attempt in (1, 2):
        with pytest.raises(RunCancelled), cancellations.running(task(attempt)):
            raise AssertionError("it ran")
    with cancellations.running(task(3)):
        pass


async def test_another_cancellation_of_the_run_is_not_taken_for_the_task_s() -> None:
    cancellations = Cancellations()

    async def run() -> None:
        with cancellations.running(task(1)):
            await asyncio.Event().wait()

    running = asyncio.create_task(run())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def task(attempt: int) -> TaskSubmitted:
    moment = datetime.now(UTC)
    return TaskSubmitted(
        task_id="t",
        endpoint_id=ENDPOINT,
        owner="ada",
        attempt=attempt,
        request="{}",
        submitted_at=moment,
        expires_at=moment,
        timeout_seconds=1,
    )
