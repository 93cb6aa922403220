"""Reading the log of an endpoint through a builder, over core NATS (protocol: contracts/logs.py)."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import nats.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from model_engine_contracts.logs import END_HEADER, ERROR_HEADER, SILENCE_SECONDS, LogRequest
from model_engine_contracts.subjects import logs_subject
from model_engine_gateway.errors import ApiError

FIRST_FRAME_SECONDS = 10.0
PENDING_FRAMES = 1024
PENDING_BYTES = 8 << 20
_NO_RESPONDERS = "503"


class EndpointLogs:
    """Opens logs. A reader slower than the log loses its stream, never the process its memory."""

    def __init__(self, nats_client: Nats) -> None:
        self._nats = nats_client

    async def open(self, request: LogRequest) -> AsyncGenerator[bytes, None]:
        """The text of a log in pieces. Raises ApiError 503 where no builder answers, or it cannot read the log."""
        inbox = self._nats.new_inbox()
        subscription = await self._nats.subscribe(
            inbox, pending_msgs_limit=PENDING_FRAMES, pending_bytes_limit=PENDING_BYTES
        )
        try:
            await self._nats.publish(logs_subject(request.endpoint_id), request.model_dump_json().encode(), reply=inbox)
            first = await _frame(subscription, FIRST_FRAME_SECONDS)
            if first is None or _header(first, "Status") == _NO_RESPONDERS:
                raise _unavailable("no builder answers")
            if error := _header(first, ERROR_HEADER):
                raise _unavailable(error)
        except nats.errors.Error as error:
            await subscription.unsubscribe()
            raise _unavailable("NATS does not answer") from error
        except BaseException:
            await subscription.unsubscribe()
            raise
        return _pieces(subscription, first)


async def _pieces(subscription: Any, first: Msg) -> AsyncGenerator[bytes, None]:
    frame: Msg | None = first
    try:
        while frame is not None:
            if frame.data:
                yield frame.data
            if error := _header(frame, ERROR_HEADER):
                yield f"\n[the log cannot be read further: {error}]\n".encode()
            if _header(frame, END_HEADER):
                return
            frame = await _frame(subscription, SILENCE_SECONDS)
        yield b"\n[the log ends here: the builder that read it does not answer any more]\n"
    finally:
        await subscription.unsubscribe()


async def _frame(subscription: Any, patience: float) -> Msg | None:
    try:
        async with asyncio.timeout(patience):
            frame: Msg = await subscription.next_msg(timeout=patience + 1)
            return frame
    except (TimeoutError, nats.errors.Error):
        return None


def _header(frame: Msg, name: str) -> str | None:
    return (frame.headers or {}).get(name)


def _unavailable(reason: str) -> ApiError:
    return ApiError(503, f"The log cannot be read: {reason}. Please retry.", "log_unavailable", {"retry-after": "1"})
