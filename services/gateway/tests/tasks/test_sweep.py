"""The sweep: no open task is without an end."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from model_engine_chassis.leases import LeaseStore
from model_engine_chassis.outbox import OutboxRelay
from model_engine_chassis.publish import publish_event
from model_engine_contracts.documents import ENDPOINTS
from model_engine_contracts.topology import STREAMS
from model_engine_gateway.clock import now
from model_engine_gateway.tasks import reconcile
from model_engine_gateway.tasks.reconcile import Reconciliation
from model_engine_gateway.tasks.repository import TASKS
from model_engine_local.testing import eventually

from .conftest import END, Bench
from .test_results import all_read, report, started, succeeded


async def test_what_nobody_took_in_time_expires_and_leaves_the_queue(bench: Bench) -> None:
    moment = now()
    for task_id in ("late", "running"):
        task = await bench.insert(task_id, expires_at=moment - timedelta(seconds=60))
        sequence = await bench.queue.publish(task)
        await bench.tasks.record_publications([(task_id, 1, sequence)], await bench.queue.stream())
    await bench.insert("early")
    async with bench.results():
        await report(bench, started("running"))
        await all_read(bench)
    await bench.sweep.round()
    assert (await bench.get("late"))["status"] == "UNDEFINED"
    assert (await bench.get("running"))["status"] == "STARTED"
    assert {message.task_id for message in await bench.queued()} == {"running", "early"}


@pytest.mark.parametrize("gone", [False, True])
async def test_tasks_of_a_deleted_endpoint_are_cancelled(bench: Bench, gone: bool) -> None:
    await bench.put_endpoint("end_2")
    kept = (await bench.post(params={"model_endpoint_id": "end_2"})).json()["task_id"]
    ids = [await bench.submit() for _ in range(3)]
    if gone:
        await bench.database[ENDPOINTS].delete_one({"_id": END})
    else:
        await bench.put_endpoint(deletion_requested=True)
    await bench.sweep.round()
    for task_id in ids:
        assert (await bench.get(task_id))["status"] == "UNDEFINED"
        [event] = (await bench.document(task_id))["outbox"]
        assert event["type"] == "modelengine.task.cancelled.v1"
    assert await bench.queued() == []
    assert [message.task_id for message in await bench.queued("end_2")] == [kept]
    assert (await bench.get(kept))["status"] == "PENDING"


async def test_a_lost_store_is_made_anew_and_every_open_task_is_queued_again(bench: Bench) -> None:
    ids = {await bench.submit() for _ in range(20)}
    await bench.service.close()
    done = await bench.submit()
    async with bench.results():
        await report(bench, succeeded(done))
        await all_read(bench)
    await bench.pull(5)
    for stream in STREAMS:
        await bench.js.delete_stream(stream.name)
    bench.queue._stream_known = (-1, 0.0)
    await bench.sweep.round()
    messages = await bench.queued()
    assert {message.task_id for message in messages} == ids
    assert {message.attempt for message in messages} == {2}
    await bench.sweep.round()
    assert len(await bench.queued()) == 20


class TestReconciliation:
    async def test_a_task_whose_report_was_lost_is_run_again(self, bench: Bench) -> None:
        task_id = await bench.submit()
        waiting = await bench.submit()
        await bench.service.close()
        [message] = await bench.pull()
        await message.ack_sync()
        await Reconciliation(bench.tasks, bench.queue).round()
        await bench.sweep.round()
        assert {(message.task_id, message.attempt) for message in await bench.queued()} == {(task_id, 2), (waiting, 1)}

    async def test_a_report_that_is_not_read_yet_is_waited_for(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reconcile, "RESULTS_SECONDS", 0.3)
        task_id = await bench.submit()
        await bench.service.close()
        [message] = await bench.pull()
        await report(bench, succeeded(task_id, '"done"'))
        await message.ack_sync()
        await Reconciliation(bench.tasks, bench.queue).round()
        assert (await bench.document(task_id))["attempt"] == 1
        async with bench.results():
            await Reconciliation(bench.tasks, bench.queue).round()
            await all_read(bench)
        await bench.sweep.round()
        assert await bench.queued() == []
        assert (await bench.get(task_id))["result"] == "done"

    async def test_a_sequence_that_another_task_has_now_counts_as_lost(self, bench: Bench) -> None:
        task_id = await bench.submit()
        await bench.service.close()
        sequence = (await bench.document(task_id))["sequence"]
        lost = await bench.insert("lost")
        await bench.tasks.record_publications([(lost.id, 1, sequence)], await bench.queue.stream())
        await Reconciliation(bench.tasks, bench.queue).round()
        await bench.sweep.round()
        assert {(message.task_id, message.attempt) for message in await bench.queued()} == {(task_id, 1), ("lost", 2)}


async def test_of_task_events_the_failures_reach_the_history(bench: Bench) -> None:
    ids = [await bench.submit() for _ in range(2)]
    stop = asyncio.Event()

    async def publish(event: Any) -> None:
        await publish_event(bench.js, event)

    relay = OutboxRelay(bench.database, publish, [TASKS], LeaseStore(bench.database), "test")
    relaying = asyncio.create_task(relay.run(stop))
    await bench.put_endpoint(deletion_requested=True)
    await bench.sweep.round()

    async def stored() -> bool:
        return bool(await bench.database["events"].count_documents({"owner": "ada", "endpoint_id": END}) == 2)

    async def emptied() -> bool:
        return all([not (await bench.document(task_id))["outbox"] for task_id in ids])

    await eventually(stored)
    await eventually(emptied)
    stop.set()
    await relaying
