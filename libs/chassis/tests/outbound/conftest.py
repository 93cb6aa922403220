"""A receiver of calls: a real HTTP server on this machine, with or without TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class Receiver:
    """Answers each request with `answer`; `silent` leaves it unanswered."""

    port: int = 0
    answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    silent: bool = False
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    peer_names: list[Any] = field(default_factory=list)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            length = next(line for line in head.lower().splitlines() if line.startswith("content-length:"))
            self.bodies.append(await reader.readexactly(int(length.split(":")[1])))
            certificate = writer.get_extra_info("peercert")
            self.peer_names.append(certificate and certificate["subjectAltName"])
            if self.silent:
                await reader.read()
            writer.write(self.answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def _serving(receiver: Receiver, tls: ssl.SSLContext | None) -> AsyncIterator[Receiver]:
    async with await asyncio.start_server(receiver.handle, "127.0.0.1", 0, ssl=tls) as server:
        receiver.port = server.sockets[0].getsockname()[1]
        yield receiver


@pytest.fixture
def serving() -> Callable[..., Any]:
    """Serve a receiver with this TLS context."""
    return lambda tls=None: _serving(Receiver(), tls)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with _serving(Receiver(), None) as serving:
        yield serving
