"""Fetching artifacts from a real web server."""

import hashlib

import pytest

from model_engine_contracts.failures import Reason
from model_engine_runtime.agent.backend import BuildFailed
from model_engine_runtime.agent.process import artifact
from model_engine_runtime.agent.process.artifact import ArtifactSource, fetch

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(artifact, "ATTEMPTS", 4)
    monkeypatch.setattr(artifact, "backoff", lambda *_, **__: 0.0)


async def fetched(url, tmp_path, sha256=SHA256, max_bytes=1 << 20):
    target = tmp_path / "artifact"
    size = await fetch(ArtifactSource(url, sha256, None, max_bytes), target)
    assert size == len(target.read_bytes())
    return target.read_bytes()


async def test_it_arrives_whole(source, tmp_path):
    url, state = source
    state.content = CONTENT
    assert await fetched(url, tmp_path) == CONTENT


async def test_a_source_that_is_away_or_breaks_off_is_asked_again(source, tmp_path):
    url, state = source
    state.content, state.statuses, state.truncate = CONTENT, [503, 500], True
    assert await fetched(url, tmp_path) == CONTENT
    assert state.requests == 4


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (410, 1), (302, 1), (503, 4)])
async def test_one_that_is_not_there_is_missing(source, tmp_path, status, requests):
    url, state = source
    state.statuses = [status] * 10
    with pytest.raises(BuildFailed) as raised:
        await fetched(url, tmp_path)
    assert raised.value.failure.reason is Reason.ARTIFACT_MISSING
    assert str(status) in raised.value.failure.message
    assert state.requests == requests


async def test_another_content_is_corrupt(source, tmp_path):
    url, state = source
    state.content = CONTENT + b"!"
    with pytest.raises(BuildFailed) as raised:
        await fetched(url, tmp_path)
    assert raised.value.failure.reason is Reason.ARTIFACT_CORRUPT


async def test_one_that_is_too_large_is_refused(source, tmp_path):
    url, state = source
    state.content = CONTENT
    with pytest.raises(BuildFailed, match="larger than"):
        await fetched(url, tmp_path, max_bytes=100)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "http://127.0.0.1:1/x"])
async def test_addresses_that_lead_nowhere(tmp_path, url):
    with pytest.raises(BuildFailed) as raised:
        await fetched(url, tmp_path)
    assert raised.value.failure.reason is Reason.ARTIFACT_MISSING
