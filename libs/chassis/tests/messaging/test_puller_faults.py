"""The Puller heals: server killed, connection lost, durable deleted, store lost. It never makes what it pulls from."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from prometheus_client import REGISTRY

from model_engine_chassis.puller import WATCH_SECONDS, Puller
from model_engine_local.servers import NatsServer
from model_engine_local.testing import eventually

Pulling = Callable[..., AbstractAsyncContextManager[Puller]]
MakeQueue = Callable[[], Awaitable[None]]


LONG_HEARTBEAT = 14.0
"""Seconds; its absence is noticed later than these tests wait."""


class Recorder:
    """A handler that records what it was given."""

    def __init__(self) -> None:
        self.handled: list[bytes] = []

    async def __call__(self, message: Msg) -> None:
        self.handled.append(message.data)

    async def has(self, data: bytes) -> None:
        await eventually(lambda: data in self.handled)


def rebinds() -> float:
    return REGISTRY.get_sample_value("modelengine_puller_rebinds_total", {"durable": "workers"}) or 0.0


async def test_a_killed_server_that_comes_back_delivers_again(
    nats_server: NatsServer, nats_client: Nats, js: JetStreamContext, queue: None, pulling: Pulling
):
    handler = Recorder()
    async with pulling(handler, heartbeat=LONG_HEARTBEAT):
        await js.publish("work", b"before")
        await handler.has(b"before")
        nats_server.kill()
        await eventually(lambda: not nats_client.is_connected)
        nats_server.start()
        await eventually(lambda: nats_client.is_connected)
        await js.publish("work", b"after")
        await handler.has(b"after")


async def test_it_waits_for_a_durable_without_a_hot_loop_and_never_makes_it(
    nats_client: Nats, js: JetStreamContext, queue: None, make_queue: MakeQueue, pulling: Pulling
):
    handler = Recorder()
    async with pulling(handler):
        await js.publish("work", b"before")
        await handler.has(b"before")
        await js.delete_consumer("WORK", "workers")
        rebinds_before, sent_before = rebinds(), nats_client.stats["out_msgs"]
        started = asyncio.get_running_loop().time()
        await eventually(lambda: rebinds() - rebinds_before >= 5, timeout=20)
        # One request per binding, and growing pauses between them beside the interval at which trouble is looked for.
        assert nats_client.stats["out_msgs"] - sent_before <= 5 + 2
        assert asyncio.get_running_loop().time() - started > 5 * WATCH_SECONDS + 0.2
        with pytest.raises(NotFoundError):
            await js.consumer_info("WORK", "workers")

        await make_queue()
        await js.publish("work", b"after")
        await handler.has(b"after")


async def test_a_deleted_stream_made_again_delivers(
    js: JetStreamContext, queue: None, make_queue: MakeQueue, pulling: Pulling
):
    handler = Recorder()
    async with pulling(handler, heartbeat=0.2):
        await js.publish("work", b"before")
        await handler.has(b"before")
        await js.delete_stream("WORK")
        await make_queue()
        await js.publish("work", b"after")
        await handler.has(b"after")


async def test_a_lost_store_made_again_delivers(
    nats_server: NatsServer,
    nats_client: Nats,
    js: JetStreamContext,
    queue: None,
    make_queue: MakeQueue,
    pulling: Pulling,
):
    handler = Recorder()
    async with pulling(handler, heartbeat=LONG_HEARTBEAT):
        await js.publish("work", b"before")
        await handler.has(b"before")
        nats_server.kill()
        await eventually(lambda: not nats_client.is_connected)
        shutil.rmtree(nats_server.store_dir)
        nats_server.start()
        await eventually(lambda: nats_client.is_connected)
        await make_queue()
        await js.publish("work", b"after")
        await handler.has(b"after")


async def test_a_silent_server_is_noticed_by_its_missing_heartbeats(
    nats_client: Nats, js: JetStreamContext, queue: None, pulling: Pulling
):
    handler = Recorder()
    answered = asyncio.Event()

    async def swallow(message: Msg) -> None:
        answered.set()

    await js.delete_consumer("WORK", "workers")
    # Somebody takes the requests and answers nothing, as a server does that lost its durable in an outage.
    silence = await nats_client.subscribe("$JS.API.CONSUMER.MSG.NEXT.WORK.workers", cb=swallow)
    before = rebinds()
    async with pulling(handler, heartbeat=0.1):
        await eventually(answered.is_set)
        await eventually(lambda: rebinds() > before)
        await silence.unsubscribe()


async def test_a_closed_connection_ends_the_run(nats_client: Nats, queue: None):
    puller = Puller(nats_client, stream="WORK", durable="workers", handler=Recorder(), window=1, ack_wait=60.0)
    task = asyncio.create_task(puller.run(asyncio.Event()))
    await nats_client.close()
    done, _ = await asyncio.wait([task], timeout=10)
    assert done
    assert isinstance(task.exception(), Exception)
