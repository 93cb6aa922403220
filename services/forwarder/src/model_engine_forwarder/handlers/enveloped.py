"""Routes that take the request envelope: /predict, /stream and every extra route of type default."""

from collections.abc import Callable

from model_engine_chassis.asgi_server import Receive, Scope, Send
from model_engine_chassis.limiter import Limiter, LimitReached
from model_engine_forwarder.disconnect import CancelOnDisconnect
from model_engine_forwarder.envelope import Envelope, EnvelopeError, read_envelope
from model_engine_forwarder.errors import RequestError, not_ready, too_many_requests
from model_engine_forwarder.handlers.stream import StreamForward
from model_engine_forwarder.handlers.sync import SyncForward
from model_engine_forwarder.messages import handed_on_headers, read_body
from model_engine_forwarder.readiness import Readiness

Forward = SyncForward | StreamForward
Choice = Callable[[Envelope], Forward]


class EnvelopedRoute:
    """Holds a place of the limiter while it reads the envelope, and until the answer, streamed or not, is over."""

    def __init__(
        self, limiter: Limiter, readiness: Readiness, max_body_bytes: int, idle_timeout: float, choose: Choice
    ) -> None:
        self._limiter = limiter
        self._readiness = readiness
        self._max_body_bytes = max_body_bytes
        self._idle_timeout = idle_timeout
        self._choose = choose

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Serve one request. Returns the status answered."""
        try:
            await self._limiter.acquire()
        except LimitReached as error:
            raise too_many_requests() from error
        try:
            if not self._readiness.started:
                raise not_ready(self._readiness.problem or "")
            raw = await read_body(scope, receive, self._max_body_bytes, self._idle_timeout)
            try:
                envelope = read_envelope(raw)
                forward = self._choose(envelope)
                body = envelope.model_request(forward.unwrap)
            except EnvelopeError as error:
                raise RequestError(422, {"detail": [error.problem], "code": "INVALID_REQUEST"}) from error
            with CancelOnDisconnect(receive):
                return await forward(envelope, body, handed_on_headers(scope), send)
        finally:
            self._limiter.release()


def always(forward: Forward) -> Choice:
    """Every request goes the same way."""
    return lambda envelope: forward


def by_stream_flag(sync: SyncForward | None, stream: StreamForward | None) -> Choice:
    """`args.stream` says whether the caller wants events; a flag that is true but not `true` may mean either."""

    def choose(envelope: Envelope) -> Forward:
        args = envelope.args
        if not isinstance(args, dict):
            kind = "missing" if args is None else "dict_type"
            raise EnvelopeError(kind, ("args",), "Field required" if args is None else "Input should be an object")
        flag = args.get("stream")
        if flag and stream is not None:
            return stream
        if flag is not True and sync is not None:
            return sync
        offered = "only streams: set args.stream to true" if sync is None else "does not stream: leave args.stream out"
        raise EnvelopeError("value_error", ("args", "stream"), f"This route {offered}")

    return choose
