"""A model server that says exactly what a test wants, a forwarder in front of it, and a client that sends raw bytes."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
import uvloop
from prometheus_client import CollectorRegistry
from uvicorn.server import ServerState

from model_engine_chassis.upstream import UpstreamPool
from model_engine_forwarder.app import Forwarder, build
from model_engine_forwarder.config import Config
from model_engine_forwarder.server import bind
from model_engine_local.testing import eventually


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loop of production."""
    return {"uvloop": uvloop.new_event_loop}


@dataclass
class Request:
    """What the model server received."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


@dataclass
class Connection:
    """The model server's end of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Returns when the forwarder has closed this connection."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


Reply = bytes | Callable[[Connection, Request], Awaitable[None]]


def http(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer with its length."""
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    return f"HTTP/1.1 {status} X\r\n{''.join(lines)}content-length: {len(body)}\r\n\r\n".encode() + body


def echo(request: Request) -> bytes:
    return http(200, request.body, content_type="application/json")


@dataclass
class ModelServer:
    """Echoes bodies unless `reply` says otherwise; always healthy unless `health` says otherwise."""

    port: int = 0
    health: bytes = http(200)
    reply: Reply | None = None
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    running: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.running.add(task)
        self.connections += 1
        try:
            while True:
                await self.answer(Connection(reader, writer), await read_request(reader))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the forwarder closed the connection
        finally:
            writer.close()
            self.running.discard(task)

    async def answer(self, connection: Connection, request: Request) -> None:
        if request.method == "GET" and request.target in ("/readyz", "/health"):
            await connection.send(self.health)
            return
        self.requests.append(request)
        if self.reply is None:
            await connection.send(echo(request))
        elif isinstance(self.reply, bytes):
            await connection.send(self.reply)
        else:
            await self.reply(connection, request)


async def read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *rest = head.rstrip("\r\n").split("\r\n")
    method, target, _ = line.split(" ")
    headers = [(name.lower(), value.strip()) for name, _, value in (item.partition(":") for item in rest)]
    body = b""
    if length := dict(headers).get("content-length"):
        body = await reader.readexactly(int(length))
    elif dict(headers).get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    return Request(method, target, headers, body)


@pytest.fixture
async def model() -> AsyncIterator[ModelServer]:
    model = ModelServer()
    server = await asyncio.start_server(model.serve, "127.0.0.1", 0)
    model.port = server.sockets[0].getsockname()[1]
    yield model
    server.close()
    for task in list(model.running):
        task.cancel()
    await asyncio.gather(*model.running, return_exceptions=True)


@dataclass
class Answer:
    """What the caller got."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[str]:
        """The data of each event, taken from frames that end with CRLF CRLF."""
        frames = self.body.decode().split("\r\n\r\n")
        assert frames.pop() == ""
        return [frame.removeprefix("data: ") for frame in frames if not frame.startswith(":")]


@dataclass
class Running:
    """A forwarder that serves, and a client of it."""

    forwarder: Forwarder
    port: int
    client: UpstreamPool

    async def call(
        self, method: str, target: str, body: Any = b"", headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> Answer:
        """`body` that is not bytes (or an iterator of them) is sent as JSON."""
        if isinstance(body, (dict, list, str)):
            body = json.dumps(body).encode()
        async with self.client.request("127.0.0.1", self.port, method.encode(), target.encode(), headers, body) as got:
            named = [(name.decode(), value.decode("latin-1")) for name, value in got.headers]
            return Answer(got.status, named, await got.read(1 << 28))

    async def predict(self, args: Any, **fields: Any) -> Answer:
        return await self.call("POST", "/predict", {"args": args, **fields})

    async def stream(self, args: Any) -> Answer:
        return await self.call("POST", "/stream", {"args": args})


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start(model: ModelServer) -> AsyncIterator[Start]:
    """Start a forwarder of `model`; `sync` and `stream` change those blocks, `top` the keys beside them."""
    async with contextlib.AsyncExitStack() as stack:

        async def start_one(
            sync: dict[str, Any] | None = None, stream: dict[str, Any] | None = None, *, ready: bool = True, **top: Any
        ) -> Running:
            place = {"user_port": model.port, "user_hostname": "127.0.0.1"}
            if sync is not None or stream is None:
                top["sync"] = {**place, "forward_http_status": True, **(sync or {})}
            if stream is not None or sync is None:
                top["stream"] = {**place, "predict_route": "/stream", **(stream or {})}
            running = await stack.enter_async_context(running_forwarder(Config.model_validate(top)))
            if ready:
                await eventually(lambda: running.forwarder.readiness.started)
            return running

        yield start_one


@contextlib.asynccontextmanager
async def running_forwarder(config: Config) -> AsyncIterator[Running]:
    """uvicorn's protocol on a socket, without its server, whose start and stop are slow beside a test."""
    forwarder = build(config, CollectorRegistry())
    settings = uvicorn.Config(forwarder.app, lifespan="off", access_log=False, log_config=None, proxy_headers=False)
    settings.load()
    state = ServerState()
    state.default_headers = [(b"date", b"Tue, 24 Nov 2026 16:00:00 GMT")]
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: settings.http_protocol_class(config=settings, server_state=state, app_state={}), sock=listener
    )
    following = asyncio.create_task(forwarder.readiness.follow())
    client = UpstreamPool(max_connections=1000, head_timeout=10, idle_timeout=10)
    yield Running(forwarder, port, client)
    client.close()
    server.close()
    following.cancel()
    for connection in list(state.connections):
        connection.transport.abort()
    await asyncio.gather(following, *state.tasks, return_exceptions=True)
    forwarder.pool.close()


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port that is taken, so that nobody else gets it, but refuses connections."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
