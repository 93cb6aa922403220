"""ASGI messages: reading a bounded body, answering with JSON."""

import asyncio
from collections.abc import AsyncIterator, Iterable, MutableMapping
from typing import Any

from model_engine_chassis.asgi_server import Receive, Scope, Send
from model_engine_forwarder.errors import ClientGone, RequestError

Message = MutableMapping[str, Any]
Header = tuple[bytes, bytes]

BODILESS_STATUSES = (204, 304)

UPLOAD_HEADER = b"x-model-engine-upload-url"
"""Where the model server may store one result of this request; the gateway sets it for requests that need it."""

_HANDED_ON = (b"traceparent", b"tracestate", UPLOAD_HEADER)
_JSON: Header = (b"content-type", b"application/json")


async def read_body(scope: Scope, receive: Receive, limit: int, idle_timeout: float) -> bytes:
    """The whole request body.

    Raises RequestError 413 beyond `limit` bytes, else as `receive_body` does.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > limit:
            raise body_too_large(limit)
    body = receive_body(receive, idle_timeout)
    chunks: list[bytes] = []
    size = 0
    async for chunk in body:
        size += len(chunk)
        if size > limit:
            raise body_too_large(limit)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def receive_body(receive: Receive, idle_timeout: float) -> AsyncIterator[bytes]:
    """The request body as it comes. Raises RequestError 408 after `idle_timeout` seconds of silence, ClientGone."""
    more = True
    while more:
        try:
            async with asyncio.timeout(idle_timeout):
                message = await receive()
        except TimeoutError as error:
            raise RequestError(408, {"detail": "The rest of the body did not come", "code": "BODY_TIMEOUT"}) from error
        if message["type"] == "http.disconnect":
            raise ClientGone
        more = message.get("more_body", False)
        yield message.get("body", b"")


async def send_piece(send: Send, piece: bytes, idle_timeout: float) -> None:
    """Send a piece of a streamed answer. Raises ClientGone when the caller takes nothing for `idle_timeout` seconds."""
    try:
        async with asyncio.timeout(idle_timeout):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except TimeoutError as error:
        raise ClientGone from error


def body_too_large(limit: int) -> RequestError:
    """The answer to a body beyond the bound."""
    return RequestError(413, {"detail": f"The body is larger than max_body_bytes ({limit})", "code": "BODY_TOO_LARGE"})


def handed_on_headers(scope: Scope) -> list[Header]:
    """What an enveloped call hands on of its headers: the W3C trace context, and where a result may be stored."""
    return [header for header in scope["headers"] if header[0] in _HANDED_ON]


def traceparent(scope: Scope) -> str | None:
    """The caller's trace, if it named one."""
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"), None)


async def respond_json(send: Send, status: int, body: bytes, headers: Iterable[Header] = ()) -> int:
    """Answer with a JSON body, left out where the status has none. Returns the status."""
    if status in BODILESS_STATUSES:
        await send({"type": "http.response.start", "status": status, "headers": [*headers]})
        body = b""
    else:
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": status, "headers": [_JSON, length, *headers]})
    await send({"type": "http.response.body", "body": body})
    return status
