"""The errors that the gateway answers with: a status, a text for people, a code for programs."""

import json
from datetime import datetime
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo


class ApiError(Exception):
    """An answer other than 200. `detail` is the body's `detail` (text, or the list of a 422), `code` is stable.

    `headers` are added to the answer, for example `retry-after` on 429 and 503. Raised by handlers, turned into an
    answer in one place per kind of route.
    """

    def __init__(self, status: int, detail: Any, code: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.detail = detail
        self.code = code
        self.headers = headers or {}

    def body(self) -> bytes:
        """The JSON of the answer."""
        return json.dumps({"detail": self.detail, "code": self.code}, separators=(",", ":")).encode()


def internal_error_body(request_id: str | None = None) -> bytes:
    """The body of a 500: an id to find the log line by, nothing about the inside."""
    message = "Internal error occurred. Our team has been notified."
    fields = {"error": message, "timestamp": _timestamp(), "request_id": request_id or str(uuid4())}
    return json.dumps(fields | {"detail": message, "code": "internal_error"}, separators=(",", ":")).encode()


def overload_body() -> bytes:
    """The body of a 429 that one process sends because it has too many requests in flight."""
    message = "Too many requests"
    fields = {"error": message, "timestamp": _timestamp(), "detail": message, "code": "too_many_requests"}
    return json.dumps(fields, separators=(",", ":")).encode()


def _timestamp() -> str:
    """US Pacific time with its zone, which is what clients of these two bodies know."""
    return datetime.now(ZoneInfo("America/Los_Angeles")).strftime("%Y-%m-%d %H:%M:%S %Z")
