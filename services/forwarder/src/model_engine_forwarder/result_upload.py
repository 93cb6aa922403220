"""Sending a result to the platform's storage, by the signed address that came with the task."""

import asyncio
import http.client
import logging
import urllib.error
import urllib.request

from pydantic import ValidationError

from model_engine_chassis.puller import RetryLater
from model_engine_chassis.retry import backoff
from model_engine_contracts.api.results import StoreResultResponse
from model_engine_contracts.events.task import StoredResult

ATTEMPT_SECONDS = 30.0
"""The longest silence of the storage within one attempt."""

_MAX_ANSWER_BYTES = 1 << 16

log = logging.getLogger(__name__)


class StorageRefused(Exception):
    """The result will not be stored; the text, the rest of a sentence, says why."""


class _StorageAway(Exception):
    """The storage did not answer, or said to come again."""


async def store_result(url: str | None, content: bytes, patience: float) -> StoredResult:
    """Store JSON at `url` and return the reference to it; stored again under the same address, it is the same.

    Raises StorageRefused, and RetryLater after `patience` seconds without storage.
    """
    if url is None:
        raise StorageRefused("the platform has no address for larger ones (ME_GATEWAY_URL of the gateway)")
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    attempt = 0
    while True:
        try:
            return await asyncio.to_thread(_put, url, content)
        except _StorageAway as error:
            if loop.time() > deadline:
                raise RetryLater(f"the result was not stored: {error}") from error
            log.warning("a result was not stored yet", extra={"cause": str(error)})
        await asyncio.sleep(backoff(attempt))
        attempt += 1


def _put(url: str, content: bytes) -> StoredResult:
    request = urllib.request.Request(  # noqa: S310  # an address of the platform's own, http or https by its setting
        url, data=content, method="PUT", headers={"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=ATTEMPT_SECONDS) as answer:  # noqa: S310  # the same
            told = StoreResultResponse.model_validate_json(answer.read(_MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        if error.code < 500 and error.code not in (408, 429):
            text = error.read(_MAX_ANSWER_BYTES).decode("utf-8", "replace")
            raise StorageRefused(f"the platform's storage answers {error.code} {text}") from error
        raise _StorageAway(f"the storage answers {error.code}") from error
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValidationError) as error:
        raise _StorageAway(str(error) or repr(error)) from error
    return StoredResult(id=told.result_id, sha256=told.sha256, size=told.size)
