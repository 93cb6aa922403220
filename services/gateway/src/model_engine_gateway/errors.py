"""The one error that the gateway answers with: a status, a text for people, a code for programs."""

import json
from typing import Any


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
