"""Routes handed on as they are: any verb, any body, both streamed."""

import logging
import zlib
from collections.abc import AsyncIterator, Callable, Iterable

from model_engine_chassis.asgi_server import Receive, Scope, Send
from model_engine_chassis.limiter import Limiter, LimitReached
from model_engine_chassis.upstream import Exchange, UpstreamError
from model_engine_forwarder.content_coding import CODINGS, ContentDecoder
from model_engine_forwarder.disconnect import CancelOnDisconnect
from model_engine_forwarder.errors import RequestError, model_server_failure, not_ready, too_many_requests
from model_engine_forwarder.messages import BODILESS_STATUSES, Header, receive_body, send_piece
from model_engine_forwarder.model_server import ModelServer
from model_engine_forwarder.readiness import Readiness

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")

_METHODS_WITH_BODY = ("POST", "PUT", "PATCH")
_CONNECTION_HEADERS = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)
_REQUEST_HEADERS_KEPT_BACK = _CONNECTION_HEADERS | {b"host", b"content-length", b"expect"}
_ANSWER_HEADERS_KEPT_BACK = _CONNECTION_HEADERS | {b"proxy-authenticate", b"proxy-authorization", b"date"}

log = logging.getLogger(__name__)


class PassthroughRoute:
    """One route, the same here and at the model server. Holds a place of the limiter until the answer is over."""

    def __init__(
        self,
        limiter: Limiter,
        readiness: Readiness,
        server: ModelServer,
        idle_timeout: float,
        on_failure: Callable[[str], None],
    ) -> None:
        self._limiter = limiter
        self._readiness = readiness
        self._server = server
        self._idle_timeout = idle_timeout
        self._on_failure = on_failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Serve one request. Returns the status answered."""
        try:
            await self._limiter.acquire()
        except LimitReached as error:
            raise too_many_requests() from error
        try:
            if not self._readiness.started:
                raise not_ready(self._readiness.problem or "")
            return await self._forward(scope, receive, send)
        finally:
            self._limiter.release()

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> int:
        method: str = scope["method"]
        target: bytes = scope["raw_path"]
        if query := scope["query_string"]:
            target += b"?" + query
        headers = request_headers(scope["headers"])
        streamed = method in _METHODS_WITH_BODY and _has_body(scope["headers"])
        with CancelOnDisconnect(receive, begin=not streamed) as watch:
            if streamed:
                headers += [header for header in scope["headers"] if header[0] == b"content-length"]
            body = self._request_body(receive, watch) if streamed else b""
            server = self._server
            async with server.pool.request(server.host, server.port, method.encode(), target, headers, body) as answer:
                return await self._relay(method, answer, send)

    async def _request_body(self, receive: Receive, watch: CancelOnDisconnect) -> AsyncIterator[bytes]:
        async for piece in receive_body(receive, self._idle_timeout):
            yield piece
        watch.begin()

    async def _relay(self, method: str, answer: Exchange, send: Send) -> int:
        headers, decoder = answer_headers(answer.headers, answer.status)
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        try:
            async for chunk in answer.body():
                for piece in decoder.feed(chunk) if decoder is not None else (chunk,):
                    await send_piece(send, piece, self._idle_timeout)
        except (UpstreamError, RequestError, zlib.error) as error:
            code = _code(error)
            self._on_failure(code)
            log.warning("an answer broke off", extra={"route": method, "code": code, "cause": str(error)})
            return answer.status  # without its end the server cuts the connection, which is all a raw body can tell
        await send({"type": "http.response.body", "body": b""})
        return answer.status


def _code(error: UpstreamError | RequestError | zlib.error) -> str:
    if isinstance(error, UpstreamError):
        error = model_server_failure(error)
    return str(error.content["code"]) if isinstance(error, RequestError) else "MODEL_SERVER_INVALID_ANSWER"


def request_headers(headers: Iterable[Header]) -> list[Header]:
    """The headers of the caller that the model server gets. Compressed answers are asked for where it named none."""
    headers = list(headers)
    kept_back = _REQUEST_HEADERS_KEPT_BACK | _named_by_connection(headers)
    kept = [header for header in headers if header[0] not in kept_back]
    if not any(name == b"accept-encoding" for name, _ in kept):
        kept.append((b"accept-encoding", b"gzip, deflate"))
    return kept


def answer_headers(headers: list[Header], status: int) -> tuple[list[Header], ContentDecoder | None]:
    """The headers of the model server that the caller gets, and what undoes the coding of the body.

    A coded body changes its length, so its content-length goes; a status without a body has neither.
    """
    kept_back = _ANSWER_HEADERS_KEPT_BACK | _named_by_connection(headers)
    codings = [value.lower() for name, value in headers if name == b"content-encoding"]
    coded = len(codings) == 1 and codings[0] in CODINGS
    if coded:
        kept_back |= {b"content-encoding", b"content-length"}
    if status in BODILESS_STATUSES:
        kept_back |= {b"content-length"}
    return [header for header in headers if header[0] not in kept_back], ContentDecoder() if coded else None


def _named_by_connection(headers: Iterable[Header]) -> frozenset[bytes]:
    return frozenset(
        token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")
    )


def _has_body(headers: Iterable[Header]) -> bool:
    return any((name == b"content-length" and value != b"0") or name == b"transfer-encoding" for name, value in headers)
