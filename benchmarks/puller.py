"""The Puller beside FastStream's pull subscriber: the same work queue, the same handler, in one process on one server.

Microseconds of CPU per message count this process alone, so they hold on a busy machine too; the server's are not in
them. Rounds alternate; the median counts.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import nats
import uvloop
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, RetentionPolicy

from model_engine_chassis.puller import Puller
from model_engine_local.servers import NatsServer

MESSAGES = 20_000
PEER_MESSAGES = 4_000
BODY = b"x" * 1024
WINDOW = 64
ROUNDS = 3
ROUND_DEADLINE = 60.0

Consumer = Callable[[str, int], Awaitable[None]]


async def fill(client: Nats, messages: int) -> None:
    """A fresh queue with so many messages of 1 KiB."""
    js = client.jetstream()
    if "QUEUE" in {stream.config.name for stream in await js.streams_info()}:
        await js.delete_stream("QUEUE")
    await js.add_stream(name="QUEUE", subjects=["queue"], retention=RetentionPolicy.WORK_QUEUE)
    await js.add_consumer("QUEUE", ConsumerConfig(durable_name="workers", max_ack_pending=10_000))
    pending = [await js.publish_async("queue", BODY, stream="QUEUE") for _ in range(messages)]
    await asyncio.gather(*pending)


async def with_puller(url: str, messages: int) -> None:
    """Handle every message with the Puller."""
    client = await nats.connect(url)
    stop, left = asyncio.Event(), messages

    async def handler(message: Msg) -> None:
        nonlocal left
        left -= 1
        if not left:
            stop.set()

    puller = Puller(client, stream="QUEUE", durable="workers", handler=handler, window=WINDOW, ack_wait=30.0)
    await puller.run(stop)
    await client.close()


def with_faststream(batch_size: int) -> Consumer:
    """Handle every message with FastStream, requests of `batch_size`."""

    async def consume(url: str, messages: int) -> None:
        broker = NatsBroker(url, logger=None)
        done, left = asyncio.Event(), messages
        subscriber: Any = broker.subscriber(
            "queue",
            durable="workers",
            stream=JStream("QUEUE", declare=False),
            pull_sub=PullSub(batch_size=batch_size, timeout=1.0),
            max_workers=WINDOW,
            ack_policy=AckPolicy.NACK_ON_ERROR,
        )

        async def handler(body: bytes, message: NatsMessage) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set()

        subscriber(handler)
        await broker.start()
        await done.wait()
        await broker.stop()

    return consume


async def measure(client: Nats, url: str, consumer: Consumer, messages: int) -> tuple[float, float]:
    """Seconds of the clock and of this process's CPU per message."""
    await fill(client, messages)
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.wait_for(consumer(url, messages), ROUND_DEADLINE)
    return (time.perf_counter() - wall) / messages, (time.process_time() - cpu) / messages


async def compare(url: str) -> None:
    """Run the rounds and print them."""
    client = await nats.connect(url)
    consumers: dict[str, tuple[Consumer, int]] = {
        "Puller": (with_puller, MESSAGES),
        "FastStream, one per request": (with_faststream(1), PEER_MESSAGES),
        "FastStream, 16 per request": (with_faststream(16), PEER_MESSAGES),
    }
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in consumers}
    for _ in range(ROUNDS):
        for name, (consumer, messages) in consumers.items():
            rounds[name].append(await measure(client, url, consumer, messages))
    await client.close()
    medians = {
        name: (statistics.median(wall for wall, _ in results), statistics.median(cpu for _, cpu in results))
        for name, results in rounds.items()
    }
    own_wall, own_cpu = medians["Puller"]
    for name, (wall, cpu) in medians.items():
        print(
            f"{name:28} {1 / wall:9,.0f} msg/s {cpu * 1e6:7.1f} us CPU per message"
            f"   Puller: {wall / own_wall:5.1f}x msg/s, {cpu / own_cpu:5.1f}x less CPU"
        )


def main() -> None:
    """Start a server, compare, print the ratios; takes about twenty seconds."""
    with tempfile.TemporaryDirectory() as folder:
        server = NatsServer(Path(folder))
        server.start()
        try:
            uvloop.run(compare(server.url))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
