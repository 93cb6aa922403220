"""Everything that the client raises.

ModelEngineError
├── SettingsError              no address or no key to call with
├── RefusedError               the client will not do what is asked
├── UnreachableError           the request never reached the service
├── ConnectionLostError        the request was sent, its outcome is unknown
│   └── ResponseTimeoutError   no answer within the time limit
├── ApiError                   the service answered with an error
│   ├── InvalidRequestError    400, 422: the request itself is wrong
│   ├── AuthenticationError    401, 403
│   ├── NotFoundError          404
│   ├── ConflictError          409
│   └── UnavailableError       429, 502, 503, 504: a later attempt may succeed
├── InvalidAnswerError         the answer is not what the API promises
├── WaitTimeoutError           what was waited for did not happen in time
├── EndpointFailedError        an endpoint did not become ready, and says why
└── PredictionError            the model, or the worker around it, failed on this input
"""

from typing import Any


class ModelEngineError(Exception):
    """Base of everything that the client raises."""


class SettingsError(ModelEngineError):
    """There is no address or no key to call with; the text says how to give one."""


class RefusedError(ModelEngineError):
    """What is asked cannot be done, and the client knows it before the service; nothing was changed."""


class UnreachableError(ModelEngineError):
    """No connection could be made, so nothing was sent and repeating is safe."""


class ConnectionLostError(ModelEngineError):
    """The connection broke after the request was sent; the service may or may not have acted on it."""


class ResponseTimeoutError(ConnectionLostError):
    """No answer came within the time limit; the service may or may not have acted on the request."""


class ApiError(ModelEngineError):
    """The service answered with an error. `detail` is its text or object, `code` its stable code if it sent one."""

    def __init__(self, status: int, detail: Any, code: str | None = None, retry_after: float | None = None) -> None:
        text = detail if isinstance(detail, str) else repr(detail)
        super().__init__(f"{text} (HTTP {status})")
        self.status = status
        self.detail = detail
        self.code = code
        self.retry_after = retry_after


class InvalidRequestError(ApiError):
    """The request is wrong (400, 422); repeating it does not help."""


class AuthenticationError(ApiError):
    """The key is missing, unknown, revoked or not allowed to do this (401, 403)."""


class NotFoundError(ApiError):
    """There is no such thing, or it belongs to somebody else (404)."""


class ConflictError(ApiError):
    """The request contradicts what is going on (409)."""


class UnavailableError(ApiError):
    """The service or one behind it is overloaded or down (429, 502, 503, 504); try later."""


class InvalidAnswerError(ModelEngineError):
    """The answer is not what the API promises; is the address that of a Model Engine gateway?"""


class WaitTimeoutError(ModelEngineError):
    """What was waited for did not happen in time; it may still happen."""


class EndpointFailedError(ModelEngineError):
    """An endpoint did not become ready; the text is its status_reason: code, cause and remedy."""


class PredictionError(ModelEngineError):
    """A prediction failed: `status_code` of the model server if it answered, `traceback` as text if there is one."""

    def __init__(self, traceback: str | None, status_code: int | None = None) -> None:
        lines = (traceback or "").strip().splitlines()
        super().__init__(lines[-1] if lines else "The prediction failed and gave no reason.")
        self.traceback = traceback
        self.status_code = status_code


_STILL_RUNNING = "idempotency_key_in_use"
"""The first sending of this request runs on, although its connection broke: ask again for its answer."""

_BY_STATUS: dict[int, type[ApiError]] = {
    400: InvalidRequestError,
    422: InvalidRequestError,
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFoundError,
    409: ConflictError,
    429: UnavailableError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}


def api_error(status: int, body: Any, retry_after: str | None = None) -> ApiError:
    """The error of an answer; `body` is its parsed JSON, or its text when it is none."""
    detail, code = body, None
    if isinstance(body, dict):
        detail = body.get("detail", body.get("error", body))
        code = body.get("code")
    if isinstance(detail, list):
        detail = "; ".join(_field_problem(problem) for problem in detail)
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
    kind = UnavailableError if code == _STILL_RUNNING else _BY_STATUS.get(status, ApiError)
    return kind(status, detail, code, seconds)


def _field_problem(problem: Any) -> str:
    """One entry of a validation error as `field: message`."""
    if not isinstance(problem, dict):
        return str(problem)
    location = ".".join(str(part) for part in problem.get("loc", []) if part != "body")
    return f"{location or 'body'}: {problem.get('msg', problem)}"
