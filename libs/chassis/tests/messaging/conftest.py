"""A client of a real nats-server as services make it, a work queue, and Pullers of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, RetentionPolicy

from model_engine_chassis.nats_connection import connect
from model_engine_chassis.puller import Puller
from model_engine_chassis.settings_base import NatsSettings

ACK_WAIT = 60.0


@pytest.fixture
async def nats_client(nats_settings: NatsSettings) -> AsyncIterator[Nats]:
    client = await connect(nats_settings, "test")
    yield client
    await client.close()


@pytest.fixture
def js(nats_client: Nats) -> JetStreamContext:
    return nats_client.jetstream()


@pytest.fixture
def make_queue(js: JetStreamContext) -> Callable[[], Awaitable[None]]:
    """Makes the work queue WORK with its durable `workers`, which waits a minute for an acknowledgement."""

    async def make() -> None:
        await js.add_stream(name="WORK", subjects=["work"], retention=RetentionPolicy.WORK_QUEUE)
        await js.add_consumer("WORK", ConsumerConfig(durable_name="workers", ack_wait=ACK_WAIT))

    return make


@pytest.fixture
async def queue(make_queue: Callable[[], Awaitable[None]]) -> None:
    await make_queue()


@pytest.fixture
def pulling(nats_client: Nats) -> Callable[..., AbstractAsyncContextManager[Puller]]:
    """A Puller that runs inside the block and has drained after it."""

    @asynccontextmanager
    async def run(
        handler: Callable[[Msg], Awaitable[None]],
        *,
        window: int = 8,
        ack_wait: float = ACK_WAIT,
        heartbeat: float = 1.0,
        drain_seconds: float = 5.0,
    ) -> AsyncIterator[Puller]:
        puller = Puller(
            nats_client,
            stream="WORK",
            durable="workers",
            handler=handler,
            window=window,
            ack_wait=ack_wait,
            heartbeat=heartbeat,
            drain_seconds=drain_seconds,
        )
        stop = asyncio.Event()
        task = asyncio.create_task(puller.run(stop))
        try:
            yield puller
        finally:
            stop.set()
            await task

    return run
