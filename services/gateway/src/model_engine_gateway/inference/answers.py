"""What the caller of a prediction reads: the worker's answer in the gateway's envelope, spliced, never re-encoded.

Failures keep their full text: a traceback where the worker sent one, else its whole body.
"""

import json
from typing import Any

from model_engine_gateway.errors import ApiError
from model_engine_gateway.inference.json_text import is_json

NO_HEALTHY_UPSTREAM = "No healthy upstream"
TOO_MANY_REQUESTS = "Too many concurrent requests"
TIMED_OUT = "Request timed out."

_BAD_REQUEST = 400


def success(result: bytes, status_code: int) -> bytes:
    """The envelope around the JSON text of a worker's answer; an empty text becomes null."""
    return b'{"status":"SUCCESS","result":%b,"traceback":null,"status_code":%d}' % (result or b"null", status_code)


def failure(traceback: str, status_code: int) -> bytes:
    """The envelope of a call that the worker, or every worker, refused."""
    text = json.dumps(traceback).encode()
    return b'{"status":"FAILURE","result":null,"traceback":%b,"status_code":%d}' % (text, status_code)


def sync_answer(status: int, body: bytes) -> bytes:
    """The 200 answer of a sync call for what the worker said.

    Raises ApiError 400 for the worker's own 400, and 502 for a success whose body is not JSON.
    """
    if 200 <= status < 300:
        if body and not is_json(body):
            raise ApiError(502, f"The worker answered {status} with a body that is not JSON.", "worker_answer_invalid")
        return success(body, status)
    if status == _BAD_REQUEST:
        raise ApiError(400, f"Invalid request: {_error_text(body)}", "model_refused_request")
    return failure(traceback_of(body), status)


def traceback_of(body: bytes) -> str:
    """The traceback in a worker's error, also inside a stringified `result`; without one the whole text.

    On streaming routes the forwarder puts the model server's error under a `detail` of its own.
    """
    text = _error_text(body)
    try:
        error = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for _ in ("detail", "detail.detail"):
        error = error.get("detail") if isinstance(error, dict) else None
        traceback = error.get("traceback") if isinstance(error, dict) else None
        if isinstance(traceback, str):
            return traceback
    return text


def _error_text(body: bytes) -> str:
    """The worker's error as text, taken out of the forwarder's `{"result": "<json text>"}` where it is wrapped."""
    text = body.decode("utf-8", "replace")
    try:
        outer: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text
    inner = outer.get("result") if isinstance(outer, dict) and len(outer) == 1 else None
    return inner if isinstance(inner, str) else text
