"""Sends requests over httpx, blocking or async, and repeats them as the retry policy allows.

The two classes are the same but for `await`; what they decide lies in `retry`, `http_errors` and `procedures`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from model_engine.connection import Connection
from model_engine.errors import ModelEngineError
from model_engine.http_errors import error_of, read_answer, translated
from model_engine.operations import Request
from model_engine.procedures import Pause, Procedure
from model_engine.retry import Retry, RetryPolicy

T = TypeVar("T")

OnRetry = Callable[[Retry], None]
OnWorker = Callable[[str], None]

WORKER_HEADER = "x-model-engine-worker"
"""The gateway's answers carry the id of the worker that they come from."""

_CONNECT_SECONDS = 5.0
_UPLOAD_CHUNK_BYTES = 256 * 1024
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Transport:
    """Blocking requests over one connection pool; `on_retry` hears of every retry before its wait.

    `on_worker` hears which worker each answer comes from.
    """

    def __init__(
        self, connection: Connection, policy: RetryPolicy, on_retry: OnRetry, on_worker: OnWorker | None = None
    ) -> None:
        with translated(connection.url):
            self._http = httpx.Client(**_client_options(connection))
        if on_worker is not None:
            self._http.event_hooks["response"] = [lambda response: _tell_worker(response, on_worker)]
        self._url, self._policy, self._on_retry = connection.url, policy, on_retry

    def send(self, request: Request[T]) -> T:
        """The parsed answer; raises ModelEngineError."""

        def attempt() -> T:
            with translated(self._url):
                response = self._http.send(self._build(request))
            if response.status_code != httpx.codes.OK:
                raise error_of(response)
            return read_answer(request, response)

        return self._retrying(request, attempt)

    @contextmanager
    def open(self, request: Request[Any]) -> Iterator[Iterator[bytes]]:
        """The chunks of a streamed answer; retried until it starts, never after."""

        def attempt() -> httpx.Response:
            with translated(self._url):
                response = self._http.send(self._build(request), stream=True)
                if response.status_code != httpx.codes.OK:
                    response.read()
                    raise error_of(response)
            return response

        response = self._retrying(request, attempt)
        try:
            with translated(self._url):
                yield response.iter_bytes()
        finally:
            response.close()

    def run(self, procedure: Procedure[T]) -> T:
        """Carry out a procedure and give its result."""
        step = next(procedure)
        while True:
            try:
                try:
                    answer = self._take(step)
                except ModelEngineError as error:
                    step = procedure.throw(error)
                else:
                    step = procedure.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return] # a generator's return value is untyped here

    def pause(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _take(self, step: Request[Any] | Pause) -> Any:
        if isinstance(step, Pause):
            self.pause(step.seconds)
            return None
        return self.send(step)

    def _build(self, request: Request[Any]) -> httpx.Request:
        content = None if request.upload is None else _file_chunks(request.upload)
        return self._http.build_request(content=content, **_request_options(request))

    def _retrying(self, request: Request[Any], attempt: Callable[[], T]) -> T:
        number = 1
        while True:
            try:
                return attempt()
            except ModelEngineError as error:
                delay = self._policy.delay(error, repeatable=request.repeatable, attempt=number)
                if delay is None:
                    raise
                number += 1
                self._on_retry(Retry(request.method, request.path, number, delay, str(error)))
            self.pause(delay)


class AsyncTransport:
    """`Transport` for asyncio."""

    def __init__(
        self, connection: Connection, policy: RetryPolicy, on_retry: OnRetry, on_worker: OnWorker | None = None
    ) -> None:
        with translated(connection.url):
            self._http = httpx.AsyncClient(**_client_options(connection))
        if on_worker is not None:

            async def tell(response: httpx.Response) -> None:
                _tell_worker(response, on_worker)

            self._http.event_hooks["response"] = [tell]
        self._url, self._policy, self._on_retry = connection.url, policy, on_retry

    async def send(self, request: Request[T]) -> T:
        """The parsed answer; raises ModelEngineError."""

        async def attempt() -> T:
            with translated(self._url):
                response = await self._http.send(self._build(request))
            if response.status_code != httpx.codes.OK:
                raise error_of(response)
            return read_answer(request, response)

        return await self._retrying(request, attempt)

    @asynccontextmanager
    async def open(self, request: Request[Any]) -> AsyncIterator[AsyncIterator[bytes]]:
        """The chunks of a streamed answer; retried until it starts, never after."""

        async def attempt() -> httpx.Response:
            with translated(self._url):
                response = await self._http.send(self._build(request), stream=True)
                if response.status_code != httpx.codes.OK:
                    await response.aread()
                    raise error_of(response)
            return response

        response = await self._retrying(request, attempt)
        try:
            with translated(self._url):
                yield response.aiter_bytes()
        finally:
            await response.aclose()

    async def run(self, procedure: Procedure[T]) -> T:
        """Carry out a procedure and give its result."""
        step = next(procedure)
        while True:
            try:
                try:
                    answer = await self._take(step)
                except ModelEngineError as error:
                    step = procedure.throw(error)
                else:
                    step = procedure.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return] # a generator's return value is untyped here

    async def pause(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _take(self, step: Request[Any] | Pause) -> Any:
        if isinstance(step, Pause):
            await self.pause(step.seconds)
            return None
        return await self.send(step)

    def _build(self, request: Request[Any]) -> httpx.Request:
        content = None if request.upload is None else _file_chunks_async(request.upload)
        return self._http.build_request(content=content, **_request_options(request))

    async def _retrying(self, request: Request[Any], attempt: Callable[[], Awaitable[T]]) -> T:
        number = 1
        while True:
            try:
                return await attempt()
            except ModelEngineError as error:
                delay = self._policy.delay(error, repeatable=request.repeatable, attempt=number)
                if delay is None:
                    raise
                number += 1
                self._on_retry(Retry(request.method, request.path, number, delay, str(error)))
            await self.pause(delay)


def _tell_worker(response: httpx.Response, on_worker: OnWorker) -> None:
    if worker := response.headers.get(WORKER_HEADER):
        on_worker(worker)


def _client_options(connection: Connection) -> dict[str, Any]:
    return {
        "base_url": connection.url,
        "headers": {"authorization": f"Bearer {connection.api_key}"},
        # Loading the authorities' certificates takes 90 ms, which a plain connection need not wait for.
        "verify": not connection.url.startswith("http://"),
        # A proxy that the environment names cannot know this machine's own loopback.
        "trust_env": urlsplit(connection.url).hostname not in _LOOPBACK,
    }


def _request_options(request: Request[Any]) -> dict[str, Any]:
    headers = dict(request.headers)
    if request.upload is not None:
        headers["content-length"] = str(request.upload.stat().st_size)
    return {
        "method": request.method,
        "url": request.path,
        "params": request.query or None,
        "json": request.json,
        "headers": headers,
        "timeout": httpx.Timeout(request.timeout_seconds, connect=_CONNECT_SECONDS),
    }


def _file_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_UPLOAD_CHUNK_BYTES):
            yield chunk


async def _file_chunks_async(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while chunk := await asyncio.to_thread(file.read, _UPLOAD_CHUNK_BYTES):
            yield chunk
    finally:
        file.close()
