"""POST /v1/streaming-tasks: the worker's events in the gateway's envelope, as they come.

The answer starts with the first event, or after 15 seconds of silence with a ping. What the gateway itself refuses
before that is a plain HTTP error; whatever the worker says, and every later failure, is an event.
"""

import asyncio
import logging
import time

from pydantic import BaseModel, ValidationError

from model_engine_chassis.asgi_server import Receive, Scope, Send
from model_engine_chassis.sse import EventTooLarge, SseEvent, SseParser
from model_engine_chassis.upstream import UpstreamError, UpstreamTimeout
from model_engine_contracts.endpoint_states import EndpointType
from model_engine_gateway.errors import ApiError
from model_engine_gateway.inference import metrics
from model_engine_gateway.inference.answers import TIMED_OUT, failure, success, traceback_of
from model_engine_gateway.inference.asgi import until_client_gone, worker_header
from model_engine_gateway.inference.dispatch import Call, Dispatcher, NoAnswer
from model_engine_gateway.inference.json_text import is_json
from model_engine_gateway.inference.routing import Intake, loop_deadline, require_type
from model_engine_gateway.inference.sync_tasks import refusal

log = logging.getLogger(__name__)

TARGET = b"/stream"
PING_SECONDS = 15.0
MAX_EVENT_BYTES = 16 << 20
ERROR_BYTES = 1 << 20

_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"connection", b"keep-alive"),
    (b"x-accel-buffering", b"no"),
)


class _ErrorFields(BaseModel):
    message: str
    status_code: int = 502


class _WorkerError(BaseModel):
    error: _ErrorFields


class StreamBroken(Exception):
    """The worker's stream ended in an error: what to tell the client in the last event."""

    def __init__(self, traceback: str, status_code: int) -> None:
        super().__init__(traceback)
        self.traceback = traceback
        self.status_code = status_code


class StreamingTasks:
    """The handler of the route."""

    def __init__(self, intake: Intake, dispatcher: Dispatcher, ping_seconds: float = PING_SECONDS) -> None:
        self._intake = intake
        self._dispatcher = dispatcher
        self._ping_seconds = ping_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Serve one request; returns the HTTP status. Raises ApiError and ClientGone."""
        _, request, endpoint = await self._intake.read_call(scope, receive)
        require_type(endpoint, (EndpointType.STREAMING,), "is not a streaming endpoint")
        answer = EventAnswer(send, self._ping_seconds)
        with until_client_gone(receive):
            pings = asyncio.create_task(answer.ping())
            try:
                await self._relay(self._intake.call(request, TARGET), answer)
            except StreamBroken as error:
                await answer.send([failure(error.traceback, error.status_code)])
            except ApiError as error:
                if not answer.started:
                    raise
                await answer.send([failure(str(error.detail), error.status)])
            except Exception:
                if not answer.started:
                    raise
                log.exception("a stream failed unexpectedly")
                await answer.send([failure("Internal error occurred.", 500)])
            finally:
                pings.cancel()
            await answer.end()
        return 200

    async def _relay(self, call: Call, answer: "EventAnswer") -> None:
        """Send on the worker's events. Raises ApiError for what the gateway refuses, StreamBroken for the rest."""
        try:
            opened = self._dispatcher.open(call)
            async with asyncio.timeout_at(loop_deadline(call)) as limit, opened as (exchange, worker):
                answer.worker = worker
                if not 200 <= exchange.status < 300:
                    body = await exchange.read(ERROR_BYTES)
                    raise StreamBroken(traceback_of(body), exchange.status)
                parser = SseParser(MAX_EVENT_BYTES)
                async for piece in exchange.body():
                    if events := parser.feed(piece):
                        limit.reschedule(None)  # from the first event on only silence ends a stream
                        await _send_enveloped(events, exchange.status, answer)
        except (TimeoutError, UpstreamTimeout) as error:
            raise ApiError(408, TIMED_OUT, "request_timed_out") from error
        except NoAnswer as error:
            raise StreamBroken(refusal(error.status), error.status) from error
        except EventTooLarge as error:
            raise StreamBroken(f"The worker sent {error}.", 502) from error
        except UpstreamError as error:
            raise StreamBroken(f"The worker's stream broke off. ({error})", 502) from error


async def _send_enveloped(events: list[SseEvent], status: int, answer: "EventAnswer") -> None:
    """Send events in one write. Raises StreamBroken, after the events before it, where one of them says so."""
    envelopes: list[bytes] = []
    try:
        for event in events:
            envelopes.append(_enveloped(event, status))  # noqa: PERF401  # those before a broken one count
    finally:
        if envelopes:
            await answer.send(envelopes)


def _enveloped(event: SseEvent, status: int) -> bytes:
    """One event in its envelope. Raises StreamBroken for an error event and for data that is not JSON."""
    data = event.data.replace(b"\n", b" ")
    if event.name == b"error":
        raise _broken_by_worker(data)
    if not is_json(data):
        raise StreamBroken(f"The worker sent an event that is not JSON: {data[:200].decode('utf-8', 'replace')}", 500)
    return success(data, status)


def _broken_by_worker(data: bytes) -> StreamBroken:
    """The forwarder ends a broken stream with `{"error": {"message": …, "status_code": …}}`."""
    try:
        error = _WorkerError.model_validate_json(data).error
    except ValidationError:
        return StreamBroken(data.decode("utf-8", "replace"), 502)
    return StreamBroken(error.message, error.status_code)


class EventAnswer:
    """The stream to the client: starts late, keeps the connection alive, writes whole events only."""

    def __init__(self, send: Send, ping_seconds: float) -> None:
        self._send = send
        self._ping_seconds = ping_seconds
        self._sent_at = time.monotonic()
        self._turn = asyncio.Lock()
        self.started = False
        self.worker: str | None = None

    async def send(self, envelopes: list[bytes]) -> None:
        """Send events in one write."""
        metrics.STREAM_EVENTS.inc(len(envelopes))
        await self._write(b"".join(b"data: %b\r\n\r\n" % envelope for envelope in envelopes))

    async def ping(self) -> None:
        """Send a comment after each silence, until cancelled."""
        while True:
            silent = time.monotonic() - self._sent_at
            if silent < self._ping_seconds:
                await asyncio.sleep(self._ping_seconds - silent)
            else:
                now = time.strftime("%Y-%m-%d %H:%M:%S+00:00", time.gmtime())
                await self._write(f": ping - {now}\r\n\r\n".encode())

    async def end(self) -> None:
        """Close the stream; one without any event is an empty stream."""
        await self._start()
        await self._send({"type": "http.response.body", "body": b""})

    async def _write(self, data: bytes) -> None:
        async with self._turn:  # events and pings come from two tasks, and a slow client makes either of them wait
            self._sent_at = time.monotonic()
            await self._start()
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _start(self) -> None:
        if not self.started:
            self.started = True
            headers = [*_HEADERS, worker_header(self.worker)] if self.worker else list(_HEADERS)
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
