"""A task is durable before its 200, reaches the queue, and does so although a process dies on the way."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from model_engine_contracts.demand import WakeUp
from model_engine_contracts.endpoint_states import EndpointType
from model_engine_contracts.events import EndpointObserved, ObservedWorker
from model_engine_contracts.subjects import task_subject, wake_subject
from model_engine_contracts.topology import TASKS as TASK_STREAM
from model_engine_gateway.tasks import sweep
from model_engine_gateway.tasks.repository import TASKS
from model_engine_local.servers import NatsServer
from model_engine_local.testing import eventually

from .conftest import END, Bench

NOTHING = {"result": None, "traceback": None, "status_code": None}


async def test_a_task_is_stored_and_queued_as_it_came(bench: Bench) -> None:
    await bench.put_endpoint(task_expires_seconds=100, queue_message_timeout_seconds=7)
    body = '{ "args": {"x": 1.50}, "url": null, "destination_path": "/other", "callback_url": "http://c"}'
    headers = {
        "authorization": "Bearer ada",
        "content-type": "application/json",
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
    }
    answer = await bench.client.post(
        "/v1/async-tasks", params={"model_endpoint_id": END}, content=body, headers=headers
    )
    task_id = answer.json()["task_id"]
    assert (answer.status_code, set(answer.json())) == (200, {"task_id"})
    [message] = await bench.queued()
    assert (message.task_id, message.attempt, message.request) == (task_id, 1, body)
    assert (message.owner, message.destination_path, message.timeout_seconds) == ("ada", "/other", 7)
    assert timedelta(seconds=99) < message.expires_at - datetime.now(UTC) <= timedelta(seconds=100)
    raw = await bench.js.get_last_msg(TASK_STREAM.name, task_subject(END))
    assert raw.headers["Nats-Msg-Id"] == f"{task_id}:1"
    assert 100 <= int(raw.headers["Nats-TTL"].removesuffix("s")) <= 108
    assert raw.headers["traceparent"].startswith(f"00-{'a' * 32}-")

    async def recorded() -> bool:
        document = await bench.document(task_id)
        return document["sequence"] == raw.seq and "unpublished" not in document

    await eventually(recorded)
    assert await bench.get(task_id) == {"status": "PENDING", **NOTHING}


async def test_a_foreign_task_reads_exactly_like_an_unknown_one(bench: Bench) -> None:
    task_id = await bench.submit()
    unknown = await bench.get("00000000-0000-0000-0000-000000000000")
    assert await bench.get(task_id, owner="bob") == unknown == {"status": "PENDING", **NOTHING}
    assert await bench.get("x" * 1000) == unknown


async def test_who_may_submit_what(bench: Bench) -> None:
    assert (await bench.post(headers={})).status_code == 401
    assert (await bench.post(headers={"authorization": "Bearer bob"})).status_code == 404
    assert (await bench.post(params={})).status_code == 422
    assert (await bench.post(body=[1])).status_code == 422
    assert (await bench.post(body={"args": "x" * bench.settings.max_task_bytes})).status_code == 413
    await bench.put_endpoint(endpoint_type=EndpointType.SYNC)
    wrong_type = await bench.post()
    assert wrong_type.status_code == 400
    assert wrong_type.json()["detail"] == f"Unsupported inference type: Endpoint {END} is not an async endpoint."
    await bench.put_endpoint(public_inference=True)
    public = await bench.post(headers={"authorization": "Bearer bob"})
    assert (await bench.document(public.json()["task_id"]))["owner"] == "bob"
    assert await bench.database[TASKS].count_documents({}) == 1


async def test_the_largest_task_fits_into_a_message(bench: Bench) -> None:
    body = b'{"args":"%b"}' % (b"\\\\" * ((bench.settings.max_task_bytes - 11) // 2))
    assert bench.settings.max_task_bytes - len(body) < 2
    headers = {"authorization": "Bearer ada", "content-type": "application/json"}
    answer = await bench.client.post(
        "/v1/async-tasks", params={"model_endpoint_id": END}, content=body, headers=headers
    )
    assert answer.status_code == 200
    assert len(await bench.queued()) == 1


async def test_many_tasks_at_once_share_their_writes_and_lose_none(bench: Bench) -> None:
    ids = await asyncio.gather(*(bench.submit() for _ in range(100)))
    assert len(set(ids)) == 100
    assert {message.task_id for message in await bench.queued()} == set(ids)
    await eventually(lambda: is_published(bench, 100))


async def is_published(bench: Bench, count: int) -> bool:
    query = {"sequence": {"$gt": 0}, "unpublished": {"$exists": False}}
    return bool(await bench.database[TASKS].count_documents(query) == count)


async def test_a_full_queue_is_429_and_the_task_is_over(bench: Bench) -> None:
    config = (await bench.js.stream_info(TASK_STREAM.name)).config
    await bench.js.update_stream(config.evolve(max_msgs_per_subject=2))
    await bench.submit()
    await bench.submit()
    refused = await bench.post()
    assert (refused.status_code, refused.json()["code"]) == (429, "task_queue_full")
    assert refused.headers["retry-after"] == "5"
    rejected = await bench.database[TASKS].find_one({"state": "REJECTED"})
    assert "open" not in rejected
    await bench.sweep.round()
    assert len(await bench.queued()) == 2


async def test_a_full_queue_does_not_keep_the_sweep_from_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "PUBLISH_BATCH", 2)
    config = (await bench.js.stream_info(TASK_STREAM.name)).config
    await bench.js.update_stream(config.evolve(max_msgs_per_subject=1))
    for number in range(5):
        await bench.insert(f"full{number}")
    await bench.insert("other", endpoint_id="end_2")
    await bench.put_endpoint("end_2")
    await bench.sweep.round()
    assert [message.task_id for message in await bench.queued()] == ["full0"]
    assert [message.task_id for message in await bench.queued("end_2")] == ["other"]


async def test_without_nats_the_task_is_accepted_and_delivered_later(bench: Bench, nats_server: NatsServer) -> None:
    nats_server.stop()
    await eventually(lambda: not bench.nats.is_connected)
    task_id = await bench.submit()
    nats_server.start()
    await eventually(lambda: bench.nats.is_connected)
    await bench.sweep.round()
    assert [message.task_id for message in await bench.queued()] == [task_id]


async def test_a_process_that_dies_after_the_insert_loses_nothing(bench: Bench) -> None:
    await bench.insert("t1")
    await bench.sweep.round()
    [message] = await bench.queued()
    assert (message.task_id, message.attempt) == ("t1", 1)
    assert await is_published(bench, 1)


async def test_a_process_that_dies_before_it_recorded_the_publication_doubles_nothing(bench: Bench) -> None:
    task = await bench.insert("t1")
    sequence = await bench.queue.publish(task)
    await bench.sweep.round()
    assert len(await bench.queued()) == 1
    assert (await bench.document("t1"))["sequence"] == sequence


async def test_at_zero_the_autoscaler_is_woken(bench: Bench) -> None:
    wakes: list[WakeUp] = []

    async def on_wake(message: Any) -> None:
        wakes.append(WakeUp.model_validate_json(message.data))

    await bench.nats.subscribe(wake_subject("*"), cb=on_wake)
    await bench.submit()
    await eventually(lambda: wakes)
    assert (wakes[0].endpoint_id, wakes[0].waiting) == (END, 1)

    worker = ObservedWorker(id="w", revision="r", state="READY", address="h:1")
    bench.inference.routes.observe(
        EndpointObserved(endpoint_id=END, epoch=1, counter=1, generation=1, replicas=1, workers=(worker,))
    )
    await bench.submit()
    await bench.nats.flush()
    assert len(wakes) == 1
