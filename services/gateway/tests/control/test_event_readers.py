"""Readers of events on bad connections: one that is cut again and again misses nothing, one that is slow is cut."""

import asyncio
import base64
import json
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
import pytest

from model_engine import AsyncClient
from model_engine.connection import Connection
from model_engine.retry import RetryPolicy
from model_engine_contracts.events import ScalingDecided
from model_engine_gateway.control import live_streams
from model_engine_local.testing import eventually

EVENTS = 1000
CUTS = 50
ENDPOINTS = 10
LARGE_EVENTS = 40
LARGE_BYTES = 200_000
SCALED = "modelengine.endpoint.scaled.v1"


@dataclass(slots=True)
class CuttingProxy:
    """Passes connections on to a port and aborts each of the first ones at a random byte of the answer."""

    target: int
    cuts: int
    rng: random.Random
    made: int = 0
    port: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["CuttingProxy"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        asking = asyncio.create_task(_copy(reader, up_writer))
        try:
            left = self.rng.randrange(300, 9000)
            while data := await up_reader.read(left if self.made < self.cuts else 65536):
                writer.write(data)
                await writer.drain()
                left -= len(data)
                if left <= 0 and self.made < self.cuts:
                    self.made += 1
                    break
        except ConnectionError:
            pass  # the reader is gone
        finally:
            asking.cancel()
            writer.transport.abort()
            up_writer.transport.abort()
            self.tasks.discard(task)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)


@pytest.fixture
async def endpoint_ids(client: httpx.AsyncClient, bundle_id: str, endpoint_body: dict[str, Any]) -> list[str]:
    ids = []
    for number in range(ENDPOINTS):
        body = {**endpoint_body, "name": f"digits-{number}", "model_bundle_id": bundle_id}
        assert (await client.post("/v1/model-endpoints", json=body)).status_code == 200
        listed = await client.get("/v1/model-endpoints", params={"name": f"digits-{number}"})
        ids.append(str(listed.json()["model_endpoints"][0]["id"]))
    return ids


def _scaled(endpoint_id: str, number: int, reason: str = "busy") -> ScalingDecided:
    return ScalingDecided(endpoint_id=endpoint_id, epoch=1, from_workers=1, to_workers=number, reason=reason, inputs={})


async def _say_all(platform: Any, endpoint_ids: list[str]) -> None:
    async def say_of(first: int) -> None:
        for number in range(first, EVENTS, ENDPOINTS):
            await platform.say(_scaled(endpoint_ids[first], number))

    await asyncio.gather(*map(say_of, range(ENDPOINTS)))


async def test_a_reader_that_is_cut_fifty_times_sees_each_of_a_thousand_events_once_in_order(
    platform: Any, client: httpx.AsyncClient, endpoint_ids: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.randrange(1 << 32)
    proxy = CuttingProxy(platform.gateway.port, CUTS, random.Random(seed))
    seen: list[tuple[int, str]] = []
    numbers: set[int] = set()
    key = await platform.new_key("ada")
    async with proxy.running():
        connection = Connection(f"http://127.0.0.1:{proxy.port}", key)
        async with AsyncClient(connection, policy=RetryPolicy(attempts=20, base_seconds=0.01)) as reader:
            saying = asyncio.create_task(_say_all(platform, endpoint_ids))
            async for event in reader.events(after="0"):
                seen.append((int(event.position), event.id))
                if event.type == SCALED:
                    numbers.add(event.data["to_workers"])
                if len(numbers) == EVENTS:
                    break
            await saying
    with capsys.disabled():
        print(f"\n{len(seen)} events seen through {proxy.made} cuts (seed {seed})")
    assert proxy.made == CUTS
    kept = await client.get("/v1/events", params={"follow": "false"})
    frames = [frame.split("\n") for frame in kept.text.split("\n\n") if frame]
    history = [(int(lines[0][4:]), str(json.loads(lines[2][6:])["id"])) for lines in frames]
    assert seen == history[: len(seen)], f"seed {seed}"


async def test_a_slow_reader_is_cut_and_nobody_else_waits(
    platform: Any, client: httpx.AsyncClient, endpoint_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_streams, "WRITE_SECONDS", 0.5)
    slow = await _ask_and_read_nothing(platform.gateway.port, await platform.new_key("ada"))
    query = {"type": SCALED}
    async with client.stream("GET", "/v1/events", params=query, headers={"last-event-id": "0"}) as quick:
        lines = quick.aiter_lines()
        for number in range(LARGE_EVENTS):
            await platform.say(_scaled(endpoint_id, number, reason="x" * LARGE_BYTES))
            while f'"to_workers":{number},' not in await anext(lines):
                pass
            assert (await client.get("/v1/model-endpoints")).status_code == 200
    await eventually(lambda: not _is_open(slow.getsockname()[1]))
    slow.close()


async def _ask_and_read_nothing(port: int, key: str) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    credentials = base64.b64encode(f"{key}:".encode()).decode()
    head = f"GET /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Basic {credentials}\r\nlast-event-id: 0\r\n\r\n"
    await loop.sock_sendall(client, head.encode())
    return client


def _is_open(port: int) -> bool:
    """Whether the gateway, which runs in this process, still holds its end of the connection from this port."""
    connections = psutil.Process().net_connections("tcp")
    return any(connection.raddr and connection.raddr.port == port for connection in connections)
