"""The HTTP face of a loaded bundle: POST /predict, POST /stream and the health routes, as a plain ASGI callable.

A call whose client goes away is cancelled: an async function at its next await, a generator at its next value, and a
call that still waits for its turn at once. A plain function runs to its end, unheard.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from model_engine_model_server.envelope import read_inputs
from model_engine_model_server.predictor import Inputs, InvalidInputError, PredictError, Predictor
from model_engine_model_server.slots import TooManyRequestsError
from model_engine_model_server.upload import StorageError, store

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_ANTICIPATED = (InvalidInputError, TooManyRequestsError, PredictError)
_HEALTH_ROUTES = ("/readyz", "/healthz", "/healthcheck")
_UPLOAD_HEADER = b"x-model-engine-upload-url"
_JSON_TYPE = (b"content-type", b"application/json")
_SSE_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class ModelApp:
    """ASGI application around one predictor."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._routes: dict[str, Callable[[bytes, Message, Send], Coroutine[Any, Any, None]]] = {
            "/predict": self._predict,
            "/stream": self._stream,
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path, method = scope["path"], scope["method"]
        if path in _HEALTH_ROUTES and method in ("GET", "HEAD"):
            await _respond(send, 200, b"", [])
        elif path in self._routes and method == "POST":
            body = await _read_body(receive)
            if body is not None:
                await _run_while_connected(self._routes[path](body, scope, send), receive)
        elif path in self._routes or path in _HEALTH_ROUTES:
            await _respond_json(send, 405, {"detail": "Method Not Allowed"})
        else:
            await _respond_json(send, 404, {"detail": "Not Found"})

    async def _predict(self, body: bytes, scope: Message, send: Send) -> None:
        try:
            inputs = read_inputs(body)
            if inputs.return_pickled:
                answer = {"result_url": await self._predict_to_storage(inputs, _upload_url(scope))}
            else:
                answer = {"result": await self._predictor.predict(inputs)}
        except _ANTICIPATED as error:
            await _respond_failure(send, error)
            return
        except StorageError as error:
            await _respond_json(send, 502, {"detail": str(error)})
            return
        await _respond_json(send, 200, answer)

    async def _predict_to_storage(self, inputs: Inputs, upload_url: str | None) -> str:
        if upload_url is None:
            field = "return_pickled" if inputs.pickle_url is None else "cloudpickle"
            raise InvalidInputError(f"{field}: this platform cannot store pickled results; ask for JSON instead.")
        return await asyncio.to_thread(store, upload_url, await self._predictor.predict_pickled(inputs))

    async def _stream(self, body: bytes, scope: Message, send: Send) -> None:
        try:
            inputs = read_inputs(body)
            if inputs.return_pickled:
                raise InvalidInputError("return_pickled and cloudpickle: not for streams; use a sync or async task.")
            events = self._predictor.stream(inputs)
        except InvalidInputError as error:
            await _respond_failure(send, error)
            return
        async with aclosing(events):
            try:
                first = await anext(events, None)
            except _ANTICIPATED as error:
                await _respond_failure(send, error)
                return
            await send({"type": "http.response.start", "status": 200, "headers": _SSE_HEADERS})
            if first is not None:
                await _send_event(send, first)
            try:
                async for event in events:
                    await _send_event(send, event)
            except PredictError as error:
                # The event says why; the body is left without its end, so that no reader takes the stream for whole.
                failure = json.dumps(_failure_body(error))
                await _send_chunk(send, f"event: error\r\ndata: {failure}\r\n\r\n")
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _upload_url(scope: Message) -> str | None:
    found: bytes | None = dict(scope["headers"]).get(_UPLOAD_HEADER)
    return None if found is None else found.decode("latin-1")


async def _run_while_connected(work: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Run `work`, and cancel it when the client disconnects."""
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_wait_for_disconnect(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)
    if not working.cancelled():
        working.result()


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body, or None when the client went away before it was sent."""
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _respond_failure(send: Send, error: InvalidInputError | TooManyRequestsError | PredictError) -> None:
    if isinstance(error, InvalidInputError):
        await _respond_json(send, 400, {"detail": str(error)})
    elif isinstance(error, TooManyRequestsError):
        await _respond_json(send, 429, {"detail": "Too many requests"}, [(b"retry-after", b"1")])
    else:
        await _respond_json(send, 500, _failure_body(error))


def _failure_body(error: PredictError) -> dict[str, Any]:
    return {"detail": {"traceback": error.traceback_text}}


async def _send_event(send: Send, data: str) -> None:
    await _send_chunk(send, f"data: {data}\r\n\r\n")


async def _send_chunk(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def _respond_json(send: Send, status: int, body: Any, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    await _respond(send, status, json.dumps(body).encode(), [_JSON_TYPE, *(headers or [])])


async def _respond(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
