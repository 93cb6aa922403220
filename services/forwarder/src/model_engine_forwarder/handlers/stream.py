"""A call answered by server-sent events: each event of the model server becomes one of ours."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial

from model_engine_chassis.asgi_server import Send
from model_engine_chassis.sse import EventTooLarge, SseEvent, SseParser
from model_engine_chassis.upstream import Exchange, UpstreamError
from model_engine_forwarder.config import StreamBlock
from model_engine_forwarder.envelope import Envelope
from model_engine_forwarder.errors import RequestError, model_server_failure, unreadable_answer
from model_engine_forwarder.json_bytes import is_json
from model_engine_forwarder.messages import Header, respond_json, send_piece
from model_engine_forwarder.model_server import ModelServer
from model_engine_forwarder.sse import comment_frame, error_frame, result_frame

PING_SECONDS = 15.0
MAX_EVENT_BYTES = 16 << 20

_HEADERS: list[Header] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"connection", b"keep-alive"),
    (b"x-accel-buffering", b"no"),
]

log = logging.getLogger(__name__)


class PredictionFailed(Exception):
    """The platform's model server ended its stream with the traceback of the predict function."""

    def __init__(self, traceback: str) -> None:
        super().__init__("the predict function raised")
        self.traceback = traceback


class StreamForward:
    """Forwards to one route of the model server. `on_failure` is told the code of a failure in mid-stream."""

    def __init__(
        self,
        server: ModelServer,
        block: StreamBlock,
        route: str,
        max_bytes: int,
        idle_timeout: float,
        on_failure: Callable[[str], None],
    ) -> None:
        self._server = server
        self._block = block
        self._target = route.encode()
        self._max_bytes = max_bytes
        self._idle_timeout = idle_timeout
        self._on_failure = on_failure
        self.unwrap = block.model_engine_unwrap

    async def __call__(self, envelope: Envelope, body: bytes, headers: list[Header], send: Send) -> int:
        """Forward `body`, the model's part of `envelope`. Returns the status answered.

        The first event is awaited before the answer starts, so that early failures have a status of their own.
        """
        as_text = envelope.result_as_text(self._block.serialize_results_as_string)
        return await self._server.post(self._target, body, headers, partial(self._relay, send, as_text))

    async def _relay(self, send: Send, as_text: bool, answer: Exchange) -> int:
        if answer.status != 200:
            return await self._refuse(send, answer)
        frames = _frames(answer, as_text)
        try:
            first = await anext(frames, None)
        except (EventTooLarge, PredictionFailed) as error:
            raise _failure(error) from error
        if first is None:
            raise unreadable_answer(200, "it has no server-sent event", b"")
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        async with _pings(send):
            try:
                await send_piece(send, first, self._idle_timeout)
                async for batch in frames:
                    await send_piece(send, batch, self._idle_timeout)
            except (UpstreamError, EventTooLarge, PredictionFailed) as error:
                await send_piece(send, self._broken(error), self._idle_timeout)
        await send({"type": "http.response.body", "body": b""})
        return 200

    async def _refuse(self, send: Send, answer: Exchange) -> int:
        body = await answer.read(self._max_bytes)
        if body and not is_json(body):
            raise unreadable_answer(answer.status, "it is not JSON", body)
        return await respond_json(send, answer.status, b'{"detail":%b}' % (body.strip() or b"null"))

    def _broken(self, error: UpstreamError | EventTooLarge | PredictionFailed) -> bytes:
        failure = _failure(error)
        code = str(failure.content["code"])
        self._on_failure(code)
        log.warning("a stream broke", extra={"code": code, "cause": str(error)})
        return error_frame({"code": code, "message": failure.content["detail"], "status_code": failure.status})


async def _frames(answer: Exchange, as_text: bool) -> AsyncIterator[bytes]:
    """Our frames for the events of an answer; those that came together stay together."""
    parser = SseParser(MAX_EVENT_BYTES)
    async for chunk in answer.body():
        frames, traceback = _wrap(parser.feed(chunk), as_text)
        if frames:
            yield frames
        if traceback is not None:
            raise PredictionFailed(traceback)
    frames, _ = _wrap(parser.feed(b"\n\n"), as_text)  # an event that the end leaves without its blank line
    if frames:
        yield frames


def _wrap(events: list[SseEvent], as_text: bool) -> tuple[bytes, str | None]:
    """Our frames for `events`, up to one that reports a failure of the predict function, and that one's traceback."""
    frames: list[bytes] = []
    for event in events:
        if event.name == b"error" and (traceback := _traceback_in(event.data)) is not None:
            return b"".join(frames), traceback
        frames.append(result_frame(event.data, as_text))
    return b"".join(frames), None


def _traceback_in(data: bytes) -> str | None:
    """The traceback of `{"detail": {"traceback": …}}`; None for other data, which is an event like any other."""
    try:
        traceback = json.loads(data)["detail"]["traceback"]
    except (ValueError, KeyError, TypeError):
        return None
    return traceback if isinstance(traceback, str) else None


def _failure(error: UpstreamError | EventTooLarge | PredictionFailed) -> RequestError:
    if isinstance(error, UpstreamError):
        return model_server_failure(error)
    if isinstance(error, PredictionFailed):
        return RequestError(500, {"detail": error.traceback, "code": "PREDICTION_FAILED"})
    return RequestError(502, {"detail": str(error), "code": "MODEL_SERVER_ANSWER_TOO_LARGE"})


@contextlib.asynccontextmanager
async def _pings(send: Send) -> AsyncIterator[None]:
    """Send a comment every `PING_SECONDS` as long as the block runs."""

    async def ping() -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            await send(
                {"type": "http.response.body", "body": comment_frame(f"ping - {datetime.now(UTC)}"), "more_body": True}
            )

    task = asyncio.create_task(ping())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
