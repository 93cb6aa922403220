"""What the forwarder refuses, and how a failure of the model server looks to the caller."""

from collections.abc import Iterable

from model_engine_chassis.upstream import (
    BodyTooLarge,
    ConnectFailed,
    TooManyConnections,
    UpstreamClosed,
    UpstreamError,
    UpstreamTimeout,
)

RETRY_SOON = ((b"retry-after", b"1"),)


class ConfigError(Exception):
    """The configuration cannot be used; the message names the key and what is expected."""


class ClientGone(Exception):
    """The caller closed its connection: nobody waits for an answer."""


class RequestError(Exception):
    """Ends a request with `status` and a JSON object. `headers` are added to the answer."""

    def __init__(self, status: int, content: dict[str, object], headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(content.get("detail"))
        self.status = status
        self.content = content
        self.headers = headers


def too_many_requests() -> RequestError:
    """The answer beyond the concurrency limit: the gateway tries another worker."""
    return RequestError(429, {"detail": "Too many requests"}, RETRY_SOON)


def not_ready(reason: str) -> RequestError:
    """The answer while the model server has not been ready yet."""
    return RequestError(503, {"detail": reason, "code": "MODEL_SERVER_NOT_READY"}, RETRY_SOON)


def model_server_failure(error: UpstreamError) -> RequestError:
    """The answer when the call of the model server failed: 503 says that it was not sent and may be repeated."""
    if isinstance(error, (ConnectFailed, TooManyConnections)) or not error.sent:
        content: dict[str, object] = {
            "detail": f"The model server cannot be reached: {error}",
            "code": "MODEL_SERVER_UNAVAILABLE",
        }
        return RequestError(503, content, RETRY_SOON)
    if isinstance(error, UpstreamTimeout):
        return RequestError(
            504, {"detail": f"The model server did not answer in time: {error}", "code": "MODEL_SERVER_TIMEOUT"}
        )
    if isinstance(error, UpstreamClosed):
        code = "MODEL_SERVER_DISCONNECTED"
    elif isinstance(error, BodyTooLarge):
        code = "MODEL_SERVER_ANSWER_TOO_LARGE"
    else:
        code = "MODEL_SERVER_INVALID_ANSWER"
    return RequestError(502, {"detail": f"The call of the model server failed: {error}", "code": code})


def unreadable_answer(status: int, reason: str, body: bytes, *, keep_status: bool = True) -> RequestError:
    """The answer when the model server's cannot be used. Status and text of its answer are kept.

    Its error status becomes ours where `keep_status` says so; a success that cannot be read is 502.
    """
    text = body[:65536].decode(errors="replace")
    content: dict[str, object] = {
        "detail": f"The model server answered {status} with a body that is not usable: {reason}: {text[:1000]}",
        "code": "MODEL_SERVER_INVALID_ANSWER",
        "status_code": status,
        "body": text,
    }
    return RequestError(status if keep_status and status >= 400 else 502, content)
