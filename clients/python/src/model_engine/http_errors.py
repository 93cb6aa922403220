"""httpx's exceptions and error answers become this package's own, so that no caller depends on the HTTP library."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import httpx
from pydantic import ValidationError

from model_engine.errors import (
    ApiError,
    ConnectionLostError,
    InvalidAnswerError,
    ResponseTimeoutError,
    SettingsError,
    UnreachableError,
    api_error,
)
from model_engine.operations import Request

T = TypeVar("T")

_ERROR_BODY_CHARACTERS = 2000


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Raise this package's error for every error of the transport; `url` is named in the text."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise UnreachableError(f"{url} cannot be reached: {_text(error)}") from error
    except httpx.TimeoutException as error:
        raise ResponseTimeoutError(f"{url} did not answer in time: {_text(error)}") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise SettingsError(f"{url!r} is not an address: {_text(error)}") from error
    except httpx.TransportError as error:
        raise ConnectionLostError(f"The connection to {url} broke: {_text(error)}") from error


def read_answer(request: Request[T], response: httpx.Response) -> T:
    """The parsed body of a 200 whose body is loaded; raises InvalidAnswerError."""
    try:
        return request.read(response.content)
    except ValidationError as error:
        raise InvalidAnswerError(f"{request.method} {request.path} answered something unexpected: {error}") from error


def error_of(response: httpx.Response) -> ApiError:
    """The error of an answer whose body is loaded; only 200 is success on this API."""
    try:
        body = json.loads(response.content)
    except ValueError:
        body = response.text[:_ERROR_BODY_CHARACTERS] or response.reason_phrase
    return api_error(response.status_code, body, response.headers.get("retry-after"))


def _text(error: httpx.HTTPError | httpx.InvalidURL) -> str:
    return str(error) or type(error).__name__
