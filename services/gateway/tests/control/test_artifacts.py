"""Artifacts: uploaded in pieces, bound to their owner, read by signed addresses only."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from model_engine_chassis.signed_url import sign_artifact_url
from model_engine_gateway.clock import now
from model_engine_gateway.repositories.artifacts import ArtifactRepository
from model_engine_local.testing import eventually

PIECES = [bytes([number]) * 700_000 for number in range(10)]
CONTENT = b"".join(PIECES)


async def _stream(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def _signed(platform: Any, artifact_id: str, **changes: Any) -> str:
    settings = platform.gateway.settings
    url = sign_artifact_url(
        platform.url, artifact_id, changes.get("secret", settings.artifact_url_secret), valid_seconds=60
    )
    return url.replace(platform.url, "")


async def _leftovers(platform: Any) -> int:
    names = ("artifacts", "artifact_content.files", "artifact_content.chunks")
    return sum([await platform.database[name].count_documents({}) for name in names])


async def test_what_was_uploaded_is_read_by_a_signed_address(client: httpx.AsyncClient, platform: Any) -> None:
    uploaded = await client.post("/v1/artifacts", content=_stream(PIECES), headers={"x-python-version": "3.11.7"})
    told = uploaded.json()
    artifact_id = told["location"].removeprefix("artifact://")

    assert told == {
        "location": f"artifact://{artifact_id}",
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "size": len(CONTENT),
    }
    async with httpx.AsyncClient(base_url=platform.url) as nobody:
        read = await nobody.get(_signed(platform, artifact_id))
        assert read.content == CONTENT
        assert read.headers["content-length"] == str(len(CONTENT))
        for refused in (
            _signed(platform, artifact_id, secret="another secret altogether"),
            _signed(platform, "art_other").replace("art_other", artifact_id),
            urlsplit(_signed(platform, artifact_id)).path + "?expires=1&signature=00",
        ):
            assert (await nobody.get(refused)).status_code == 403
        assert (await nobody.get(_signed(platform, "art_missing"))).status_code == 404
        assert (await nobody.get(f"/v1/artifacts/{artifact_id}/content")).status_code == 422


async def test_a_bundle_takes_its_own_owners_artifact_only(
    client: httpx.AsyncClient,
    stranger: httpx.AsyncClient,
    platform: Any,
    bundle_body: dict[str, Any],
    endpoint_body: dict[str, Any],
) -> None:
    uploaded = (await client.post("/v1/artifacts", content=b"model", headers={"x-python-version": "3.11"})).json()
    bundle_body["flavor"]["location"] = uploaded["location"]

    foreign = await stranger.post("/v2/model-bundles", json=bundle_body)
    assert foreign.status_code == 404
    bundle_id = (await client.post("/v2/model-bundles", json=bundle_body)).json()["model_bundle_id"]
    await client.post("/v1/model-endpoints", json={**endpoint_body, "model_bundle_id": bundle_id})
    bundle = (await platform.database["endpoints"].find_one({}))["spec"]["bundle"]
    assert bundle["artifact_sha256"] == uploaded["sha256"]
    assert bundle["python"] == "3.11"
    assert uploaded["location"] == f"artifact://{bundle['artifact_id']}"

    bundle_body["flavor"]["location"] = "artifact://art_missing"
    missing = await client.post("/v2/model-bundles", json=bundle_body)
    assert missing.json()["code"] == foreign.json()["code"] == "artifact_not_found"


async def test_too_large_uploads_leave_nothing_behind(start: Any) -> None:
    platform = await start(max_artifact_bytes=1_000_000)
    async with platform.client(await platform.new_key("ada")) as client:
        for content in (CONTENT, _stream(PIECES)):
            answer = await client.post("/v1/artifacts", content=content)
            assert (answer.status_code, answer.json()["code"]) == (413, "artifact_too_large")
        assert (await client.post("/v1/artifacts", content=b"")).json()["size"] == 0
        refused = await client.post("/v1/artifacts", content=b"", headers={"x-python-version": "snake"})
        assert refused.status_code == 400
    assert await _leftovers(platform) == 2


async def test_an_upload_that_breaks_off_leaves_nothing_behind(client: httpx.AsyncClient, platform: Any) -> None:
    arrived = asyncio.Event()

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 5_000_000
        await eventually(lambda: _leftovers(platform))
        arrived.set()
        raise OSError("the client dies")

    with pytest.raises(OSError, match="the client dies"):
        await client.post("/v1/artifacts", content=broken())
    assert arrived.is_set()

    async def is_clean() -> bool:
        return await _leftovers(platform) == 0

    await eventually(is_clean)


async def test_what_a_dead_gateway_left_is_swept(client: httpx.AsyncClient, platform: Any) -> None:
    kept = (await client.post("/v1/artifacts", content=b"kept")).json()["location"].removeprefix("artifact://")
    database = platform.database
    begun = now() - timedelta(days=2)
    await database["artifacts"].insert_one({"_id": "art_dead", "complete": False, "created_at": begun})
    await database["artifact_content.chunks"].insert_one({"files_id": "art_dead", "n": 0, "data": b"x"})
    artifacts = ArtifactRepository(database)

    assert await artifacts.sweep(now() - timedelta(days=3)) == 0
    assert await artifacts.sweep(now() - timedelta(days=1)) == 1
    assert await artifacts.find(kept) is not None
    assert await _leftovers(platform) == 3
