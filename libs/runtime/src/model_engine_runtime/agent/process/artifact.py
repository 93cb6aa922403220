"""Fetching an artifact: streamed to disk, bounded, checked, tried again while its source is away.

Only http and https, without redirects: they would lead past the checks of the address.

Raises BuildFailed with ARTIFACT_MISSING or ARTIFACT_CORRUPT, and OSError of the disk.
"""

import asyncio
import hashlib
import http.client
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from model_engine_chassis.retry import backoff
from model_engine_contracts.failures import Reason
from model_engine_runtime.agent.backend import BuildFailed
from model_engine_runtime.artifact_version import version_of
from model_engine_runtime.protocol import Failure

ATTEMPTS = 30
CHUNK_BYTES = 1 << 20
SILENCE_SECONDS = 30.0
FINAL_STATUSES = frozenset({301, 302, 303, 307, 308, 400, 401, 403, 404, 410})


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        """Leaves the redirect as the answer, which is an error."""


_OPENER = urllib.request.build_opener(_NoRedirects)


class _SourceAway(Exception):
    """The source did not answer, broke off or said to come again."""


@dataclass(frozen=True, slots=True)
class ArtifactSource:
    """Where an artifact is, and how it must be: of this hash, or of this version where the hash is not known."""

    url: str
    sha256: str | None
    version: str | None
    max_bytes: int


async def fetch(source: ArtifactSource, target: Path) -> int:
    """Write the artifact to `target` and return its size."""
    if urlsplit(source.url).scheme not in ("http", "https"):
        raise _missing("its address is neither http nor https")
    problem = ""
    for attempt in range(ATTEMPTS):
        cancelled = threading.Event()
        try:
            return await asyncio.to_thread(_download, source, target, cancelled)
        except _SourceAway as error:
            problem = str(error)
        finally:
            cancelled.set()
        await asyncio.sleep(backoff(attempt, base=0.2, cap=5.0))
    raise _missing(problem)


def _download(source: ArtifactSource, target: Path, cancelled: threading.Event) -> int:
    request = urllib.request.Request(source.url, headers={"accept-encoding": "identity"})  # noqa: S310  # checked above
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as file:
        for chunk in _chunks(request, source.version if source.sha256 is None else None):
            if cancelled.is_set():
                return size
            size += len(chunk)
            if size > source.max_bytes:
                raise _missing(f"it is larger than ME_AGENT_MAX_ARTIFACT_BYTES ({source.max_bytes} B)")
            digest.update(chunk)
            file.write(chunk)
    if source.sha256 is not None and digest.hexdigest() != source.sha256:
        message = f"The artifact's SHA-256 is {digest.hexdigest()}, not {source.sha256} as the bundle says."
        raise BuildFailed(Failure(Reason.ARTIFACT_CORRUPT, message))
    return size


def _chunks(request: urllib.request.Request, version: str | None) -> Iterator[bytes]:
    """The body. A length that the headers promise is kept, or it counts as broken off."""
    try:
        with _OPENER.open(request, timeout=SILENCE_SECONDS) as answer:
            found = version_of(answer.headers)
            if version is not None and found != version:
                message = f"The artifact has changed: its source names the version {found}, not {version}."
                raise BuildFailed(Failure(Reason.ARTIFACT_CORRUPT, message))
            while chunk := answer.read(CHUNK_BYTES):
                yield chunk
            if answer.length:
                raise _SourceAway(f"the source broke off {answer.length} B before the end")
    except urllib.error.HTTPError as error:
        if error.code in FINAL_STATUSES:
            raise _missing(f"its source answers {error.code} {error.reason}") from error
        raise _SourceAway(f"its source answers {error.code} {error.reason}") from error
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise _SourceAway(str(error) or repr(error)) from error


def _missing(why: str) -> BuildFailed:
    return BuildFailed(Failure(Reason.ARTIFACT_MISSING, f"The artifact cannot be fetched: {why}."))
