"""Poison tasks end in FAILURE, with their history, and leave the queue."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from model_engine_chassis.acknowledge import terminate
from model_engine_chassis.dead_letters import watch_dead_letters
from model_engine_chassis.topology_ensure import ensure_consumer
from model_engine_contracts.topology import GATEWAY_DEAD_LETTERS, TASKS, task_consumer, task_durable
from model_engine_gateway.clock import now
from model_engine_gateway.tasks.dead_letters import on_dead_letter
from model_engine_local.testing import eventually

from .conftest import END, Bench


@asynccontextmanager
async def watching(bench: Bench) -> AsyncIterator[None]:
    stop = asyncio.Event()
    handler = partial(on_dead_letter, bench.tasks)
    running = asyncio.create_task(watch_dead_letters(bench.nats, GATEWAY_DEAD_LETTERS, handler, stop))
    yield
    stop.set()
    await running


async def pull_once(bench: Bench, max_deliver: int) -> Any:
    spec = replace(task_consumer(END, 4, 1), max_deliver=max_deliver, ack_wait=0.2)
    await ensure_consumer(bench.js, spec)
    return await bench.js.pull_subscribe_bind(task_durable(END), stream=TASKS.name)


async def status(bench: Bench, task_id: str) -> str:
    return str((await bench.get(task_id))["status"])


async def has_failed(bench: Bench, task_id: str) -> bool:
    return await status(bench, task_id) == "FAILURE"


async def test_a_task_that_kills_its_workers_fails_after_its_deliveries(bench: Bench) -> None:
    task_id = await bench.submit()
    subscription = await pull_once(bench, max_deliver=2)
    async with watching(bench):
        for _ in range(2):
            await subscription.fetch(1, timeout=5)
        with_wait = asyncio.create_task(never(subscription))
        await eventually(lambda: has_failed(bench, task_id))
        with_wait.cancel()
        await eventually(lambda: is_empty(bench))
    answer = await bench.get(task_id)
    assert answer["result"] == "The task was given up after 2 deliveries: no worker reported a result."
    [event] = (await bench.document(task_id))["outbox"]
    assert event["type"] == "modelengine.task.dead-lettered.v1"
    assert (event["data"]["deliveries"], event["data"]["endpoint_id"]) == (2, END)
    assert (await bench.document(task_id))["request"], "what a replay needs is kept"


async def never(subscription: Any) -> None:
    """Ask for one more delivery: the server notices the end of a message when it would deliver it again."""
    await subscription.fetch(1, timeout=60)


async def is_empty(bench: Bench) -> bool:
    return await bench.queued() == []


async def test_a_task_that_no_worker_can_read_fails_with_the_reason(bench: Bench) -> None:
    task_id = await bench.submit()
    await bench.service.close()
    subscription = await pull_once(bench, max_deliver=5)
    async with watching(bench):
        [message] = await subscription.fetch(1, timeout=5)
        await terminate(message, "the request is odd")
        await eventually(lambda: has_failed(bench, task_id))
    assert (await bench.get(task_id))["result"] == "The task was given up after 1 deliveries: the request is odd."


async def test_a_dead_attempt_does_not_end_a_newer_one(bench: Bench) -> None:
    task = await bench.insert("t1")
    sequence = await bench.queue.publish(task)
    await bench.tasks.record_publications([("t1", 1, sequence)], await bench.queue.stream())
    subscription = await pull_once(bench, max_deliver=1)
    await subscription.fetch(1, timeout=5)
    await bench.tasks.requeue([replace(task, sequence=sequence)], now())
    async with watching(bench):
        with_wait = asyncio.create_task(never(subscription))
        await eventually(lambda: is_empty(bench))
        with_wait.cancel()
    assert await status(bench, "t1") == "PENDING"
    await bench.sweep.round()
    assert [message.attempt for message in await bench.queued()] == [2]
