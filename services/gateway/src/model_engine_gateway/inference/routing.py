"""What sync and streaming routes share: who calls, what for, within which bounds, and what becomes of errors."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from pydantic import BaseModel

from model_engine_chassis import trace
from model_engine_chassis.asgi_server import Receive, Scope, Send
from model_engine_contracts.endpoint_states import EndpointType
from model_engine_gateway.access import check_scope
from model_engine_gateway.errors import ApiError, internal_error_body, overload_body
from model_engine_gateway.inference import metrics
from model_engine_gateway.inference.asgi import ClientGone, headers_of, read_body, respond, respond_error
from model_engine_gateway.inference.directory import EndpointDirectory, EndpointInfo
from model_engine_gateway.inference.dispatch import DEFAULT_ATTEMPT_SECONDS, DEFAULT_RETRIES, Call
from model_engine_gateway.inference.predict_request import (
    SYNC,
    PredictRequest,
    read_predict_request,
    target_of,
)
from model_engine_gateway.inference.settings import InferenceSettings
from model_engine_gateway.principals import Principal
from model_engine_gateway.result_addresses import ResultAddresses

log = logging.getLogger(__name__)

UPLOAD_HEADER = b"x-model-engine-upload-url"
"""Tells a worker where it may store a pickled result."""

UPLOAD_MARGIN_SECONDS = 60.0
CLIENT_GONE = 499
"""How a request whose client left counts in the metrics; nobody reads it as an answer."""


class Authenticator(Protocol):
    """Turns an `Authorization` header into a principal."""

    async def authenticate(self, authorization: bytes | None) -> Principal:
        """Raises ApiError."""


@dataclass(slots=True)
class Gate:
    """Bounds the predictions of this process, all routes together."""

    limit: int
    running: int = 0


Handler = Callable[[Scope, Receive, Send], Awaitable[int]]


class Route:
    """A plain ASGI route: bounds, trace, metrics and errors around a handler that answers and returns the status."""

    def __init__(self, name: str, method: str, handler: Handler, gate: Gate) -> None:
        self._name = name
        self._method = method
        self._handler = handler
        self._gate = gate
        self._seconds = metrics.SECONDS.labels(name)
        self._answered = metrics.REQUESTS.labels(name, "200")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = monotonic()
        status = await self._serve(scope, receive, send)
        self._seconds.observe(monotonic() - started)
        if status == 200:
            self._answered.inc()
        else:
            metrics.REQUESTS.labels(self._name, str(status)).inc()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> int:
        if scope["method"] != self._method:
            body = b'{"detail":"Method Not Allowed","code":"method_not_allowed"}'
            await respond(send, body, 405, ((b"allow", self._method.encode()),))
            return 405
        if self._gate.running >= self._gate.limit:
            await respond(send, overload_body(), 429, ((b"retry-after", b"1"),))
            return 429
        self._gate.running += 1
        try:
            traceparent = headers_of(scope).get(b"traceparent")
            with trace.use(None if traceparent is None else traceparent.decode("latin-1")):
                return await self._guarded(scope, receive, send)
        finally:
            self._gate.running -= 1

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> int:
        try:
            return await self._handler(scope, receive, send)
        except ApiError as error:
            await respond_error(send, error)
            return error.status
        except ClientGone:
            return CLIENT_GONE
        except Exception:
            log.exception("a prediction failed unexpectedly", extra={"route": self._name})
            await respond(send, internal_error_body(), 500)
            return 500


class Intake:
    """Reads a request up to the point where its endpoint and its bounds are known. `results` is where workers may store
    pickles, if anywhere.
    """

    def __init__(
        self,
        principals: Authenticator,
        directory: EndpointDirectory,
        settings: InferenceSettings,
        results: ResultAddresses | None,
    ) -> None:
        self._principals = principals
        self._directory = directory
        self._settings = settings
        self._results = results

    async def read(
        self, scope: Scope, receive: Receive, model: type[BaseModel], max_bytes: int
    ) -> tuple[Principal, PredictRequest, EndpointInfo]:
        """The caller, its valid request and the endpoint it may call. Raises ApiError and ClientGone."""
        headers = headers_of(scope)
        principal = await self.admit(scope)
        body = await read_body(headers, receive, max_bytes, self._settings.body_timeout_seconds)
        request = read_predict_request(scope["query_string"], headers, body, model)
        return principal, request, await self._directory.find(request.endpoint_id, principal.owner)

    async def read_call(self, scope: Scope, receive: Receive) -> tuple[Principal, PredictRequest, EndpointInfo]:
        """The same for a sync or streaming call. Raises ApiError and ClientGone."""
        return await self.read(scope, receive, SYNC, self._settings.max_request_bytes)

    async def admit(self, scope: Scope) -> Principal:
        """The caller, if its key has the scope that the request needs. Raises ApiError."""
        principal = await self._principals.authenticate(headers_of(scope).get(b"authorization"))
        check_scope(principal, scope["method"], scope["path"])
        return principal

    def call(self, request: PredictRequest, default_target: bytes) -> Call:
        """The request as it goes to a worker. A caller's timeout is a real deadline, else attempts are bounded."""
        given, settings = request.timeout_seconds, self._settings
        seconds = settings.request_timeout_seconds if given is None else min(given, settings.max_timeout_seconds)
        return Call(
            endpoint_id=request.endpoint_id,
            target=target_of(request, default_target),
            headers=_upstream_headers() + self._upload_header(request, seconds),
            body=request.body,
            deadline=monotonic() + seconds,
            num_retries=DEFAULT_RETRIES if request.num_retries is None else request.num_retries,
            attempt_seconds=DEFAULT_ATTEMPT_SECONDS if given is None else seconds,
        )

    def _upload_header(self, request: PredictRequest, seconds: float) -> tuple[tuple[bytes, bytes], ...]:
        """Where the worker may store a pickled result; nothing where none is wanted."""
        if self._results is None or not request.wants_pickle:
            return ()
        return ((UPLOAD_HEADER, self._results.new_upload(seconds + UPLOAD_MARGIN_SECONDS).encode()),)


def require_type(endpoint: EndpointInfo, allowed: tuple[EndpointType, ...], complaint: str) -> None:
    """Raises ApiError 400 where the endpoint is of another type."""
    if endpoint.endpoint_type not in allowed:
        text = f"Unsupported inference type: Endpoint {endpoint.id} {complaint}."
        raise ApiError(400, text, "unsupported_inference_type")


def loop_deadline(call: Call) -> float:
    """The deadline of a call on the clock of the running loop."""
    return asyncio.get_running_loop().time() + max(0.0, call.deadline - monotonic())


def _upstream_headers() -> tuple[tuple[bytes, bytes], ...]:
    headers = tuple((name.encode(), value.encode()) for name, value in trace.outgoing_headers().items())
    return ((b"content-type", b"application/json"), *headers)
