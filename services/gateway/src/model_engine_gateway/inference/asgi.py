"""The few things that plain ASGI routes need: the body, an answer, and to notice that the client is gone."""

import asyncio
from types import TracebackType
from typing import Self

from model_engine_chassis.asgi_server import Receive, Scope, Send
from model_engine_gateway.errors import ApiError

JSON = (b"content-type", b"application/json")
WATCH_AFTER_SECONDS = 0.02
"""Most calls are over sooner and are spared the task that watches for the disconnect."""


def worker_header(worker: str) -> tuple[bytes, bytes]:
    """Says which worker an answer comes from."""
    return b"x-model-engine-worker", worker.encode("ascii", "replace")


class ClientGone(Exception):
    """The client closed the connection: nobody waits for an answer."""


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """The headers of a request; of repeated ones the last."""
    return dict(scope["headers"])


async def read_body(headers: dict[bytes, bytes], receive: Receive, max_bytes: int, seconds: float) -> bytes:
    """The whole body. Raises ApiError 413 beyond `max_bytes`, 408 beyond `seconds`, and ClientGone."""
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    message = await receive()  # the first piece is there: the server starts the route with it
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        return body
    pieces = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while True:
                if message["type"] == "http.disconnect":
                    raise ClientGone
                pieces += message.get("body", b"")
                if len(pieces) > max_bytes:
                    raise _too_large(max_bytes)
                if not message.get("more_body", False):
                    return bytes(pieces)
                message = await receive()
    except TimeoutError:
        raise ApiError(408, f"The body did not arrive within {seconds:g} seconds.", "request_body_timeout") from None


def _too_large(max_bytes: int) -> ApiError:
    return ApiError(
        413,
        f"The request body is larger than {max_bytes} bytes. Send less at once, or store the input and pass its URL.",
        "request_too_large",
    )


async def respond(send: Send, body: bytes, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    """Send one whole JSON answer."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [JSON, length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def respond_error(send: Send, error: ApiError) -> None:
    """Send the answer that an error stands for."""
    headers = tuple((name.encode(), value.encode()) for name, value in error.headers.items())
    await respond(send, error.body(), error.status, headers)


class until_client_gone:  # noqa: N801  # used as a block, like asyncio.timeout
    """Cancels the block when the client closes the connection and raises ClientGone out of it.

    Enter it after the body was read: from then on the only thing to receive is the disconnect.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._block: asyncio.Task[object]
        self._watcher: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle

    def __enter__(self) -> Self:
        block = asyncio.current_task()
        assert block is not None
        self._block = block
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_SECONDS, self._start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._gone and kind is asyncio.CancelledError and self._block.uncancel() == 0:
            raise ClientGone

    def _start(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._block.cancel()
