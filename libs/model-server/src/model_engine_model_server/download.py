"""Gets the bytes behind a `url` input over http or https, within a size and a time."""

import time
import urllib.error
import urllib.request
from http.client import HTTPException

from model_engine_model_server.predictor import InvalidInputError

_SOCKET_TIMEOUT_SECONDS = 10
_CHUNK_BYTES = 64 * 1024


def _web_opener() -> urllib.request.OpenerDirector:
    """An opener that knows no file:, ftp: or data:, not even behind a redirect."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def download(url: str, max_bytes: int, timeout_seconds: float) -> bytes:
    """The object at `url`; blocks. Raises InvalidInputError when it cannot be had within the limits."""
    if not url.lower().startswith(("http://", "https://")):
        raise InvalidInputError("url: only http:// and https:// can be read; other stores are not configured.")
    deadline = time.monotonic() + timeout_seconds
    try:
        with _web_opener().open(url, timeout=min(timeout_seconds, _SOCKET_TIMEOUT_SECONDS)) as response:
            chunks: list[bytes] = []
            size = 0
            while chunk := response.read1(_CHUNK_BYTES):
                chunks.append(chunk)
                size += len(chunk)
                if size > max_bytes:
                    raise InvalidInputError(f"url: the object is larger than {max_bytes} bytes.")
                if time.monotonic() > deadline:
                    raise InvalidInputError(f"url: the download took longer than {timeout_seconds} seconds.")
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"url: the object could not be read: {error}.") from error
    return b"".join(chunks)
