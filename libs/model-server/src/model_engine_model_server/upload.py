"""Sends a pickled result to the platform's storage, by the signed address that came with the request."""

import json
import time
import urllib.error
import urllib.request
from http.client import HTTPException

ATTEMPTS = 4
_TIMEOUT_SECONDS = 60
_PAUSE_SECONDS = 0.25
_MAX_ANSWER_BYTES = 1 << 16


class StorageError(Exception):
    """The result was not stored; the text says why."""


def store(url: str, content: bytes) -> str:
    """Store `content` at `url`, which takes it once however often it is sent, and return where clients read it; blocks.

    Raises StorageError.
    """
    if not url.startswith(("http://", "https://")):
        raise StorageError(f"The pickled result was not stored: {url.partition(':')[0]} is no scheme of the storage.")
    problem = ""
    for attempt in range(ATTEMPTS):
        time.sleep(attempt * _PAUSE_SECONDS)
        headers = {"content-type": "application/octet-stream"}
        request = urllib.request.Request(url, content, headers, method="PUT")  # noqa: S310  # checked above
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310  # the same
                return str(json.loads(answer.read(_MAX_ANSWER_BYTES))["result_url"])
        except urllib.error.HTTPError as error:
            problem = f"the storage answers {error.code} {error.read(_MAX_ANSWER_BYTES).decode('utf-8', 'replace')}"
            if error.code < 500 and error.code != 429:
                break
        except (OSError, HTTPException, ValueError, KeyError) as error:
            problem = f"the storage cannot be reached: {error}"
    raise StorageError(f"The pickled result was not stored: {problem}.")
