"""Dead letters on a real server: exhausted and terminated messages reach the handler, and leave the work queue."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from model_engine_chassis.dead_letters import DeadLetter, parse_advisory, watch_dead_letters
from model_engine_chassis.puller import PermanentError, Puller
from model_engine_chassis.topology_ensure import ensure_consumer, ensure_topology
from model_engine_contracts.topology import GATEWAY_DEAD_LETTERS, task_consumer
from model_engine_local.testing import eventually


@asynccontextmanager
async def dead_letters(client: Nats, failures: int = 0) -> AsyncIterator[list[DeadLetter]]:
    """The dead letters that a watcher sees inside the block; its handler fails so many times first."""
    letters: list[DeadLetter] = []
    stop = asyncio.Event()

    async def handler(letter: DeadLetter) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise RuntimeError("the database is away")
        letters.append(letter)

    task = asyncio.create_task(watch_dead_letters(client, GATEWAY_DEAD_LETTERS, handler, stop))
    try:
        yield letters
    finally:
        stop.set()
        await task


@asynccontextmanager
async def worker(client: Nats, error: Exception) -> AsyncIterator[None]:
    """A worker that fails every task of end_1; a task is delivered twice at most."""
    js = client.jetstream()
    await ensure_topology(js)
    spec = replace(task_consumer("end_1", concurrency=1, max_workers=1), max_deliver=2)
    await ensure_consumer(js, spec)

    async def fail(message: Msg) -> None:
        raise error

    puller = Puller(client, stream="TASKS", durable=spec.durable, handler=fail, window=1, ack_wait=spec.ack_wait)
    stop = asyncio.Event()
    task = asyncio.create_task(puller.run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def test_an_exhausted_task_is_read_whole_and_leaves_the_queue(nats_client: Nats, js: JetStreamContext):
    async with worker(nats_client, RuntimeError("no luck")), dead_letters(nats_client, failures=1) as letters:
        await js.publish("metasks.end_1", b"payload", stream="TASKS", headers={"traceparent": "t"})
        await eventually(lambda: letters, timeout=20)

        async def queued() -> int:
            return (await js.stream_info("TASKS")).state.messages

        async def nothing_queued() -> bool:
            return await queued() == 0

        await eventually(nothing_queued)
    (letter,) = letters
    assert (letter.stream, letter.consumer, letter.deliveries) == ("TASKS", "workers-end_1", 2)
    assert (letter.subject, letter.data, letter.reason) == ("metasks.end_1", b"payload", None)
    assert letter.headers["traceparent"] == "t"


async def test_a_terminated_task_is_reported_with_its_reason(nats_client: Nats, js: JetStreamContext):
    async with worker(nats_client, PermanentError("not a task")), dead_letters(nats_client) as letters:
        await js.publish("metasks.end_1", b"payload", stream="TASKS")
        await eventually(lambda: letters)
    (letter,) = letters
    assert (letter.sequence, letter.deliveries, letter.reason) == (1, 1, "not a task")


async def test_an_event_stays_in_the_history_of_facts(nats_client: Nats, js: JetStreamContext):
    await ensure_topology(js)
    async with dead_letters(nats_client) as letters:
        await js.publish("mesys.bad", b"payload", stream="EVENTS")
        subscription = await js.pull_subscribe_bind("gateway-status", "EVENTS")
        await (await subscription.fetch(1))[0].term()
        await eventually(lambda: letters)
    assert letters[0].data == b"payload"
    assert (await js.stream_info("EVENTS")).state.messages == 1


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"stream": "S", "consumer": "c", "stream_seq": "x"}'])
def test_what_is_not_an_advisory_is_refused_for_good(raw: bytes):
    with pytest.raises(PermanentError):
        parse_advisory(raw)
