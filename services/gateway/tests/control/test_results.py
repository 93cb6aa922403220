"""Results in storage, and files of the operator: opened by signed addresses only."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_engine_chassis.signed_url import sign_file_url, sign_result_url, sign_upload_url
from model_engine_gateway.clock import now

CONTENT = b"0123456789" * 300_000
URL = "http://gateway"


def _upload(platform: Any, result_id: str, seconds: float = 60) -> str:
    secret = platform.gateway.settings.artifact_url_secret
    return sign_upload_url(URL, result_id, secret, valid_seconds=seconds).removeprefix(URL)


@pytest.fixture
async def gateway(start: Any, tmp_path: Path) -> Any:
    (tmp_path / "allowed").mkdir()
    return await start(
        gateway_url=URL, max_result_bytes=len(CONTENT), allowed_artifact_directories=(tmp_path / "allowed",)
    )


@pytest.fixture
async def nobody(gateway: Any) -> Any:
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        yield client


async def test_a_result_is_stored_once_and_read_by_its_address(gateway: Any, nobody: httpx.AsyncClient) -> None:
    stored = await asyncio.gather(*(nobody.put(_upload(gateway, "res_1"), content=CONTENT) for _ in range(3)))
    again = await nobody.put(_upload(gateway, "res_1"), content=b"something else")

    assert {answer.status_code for answer in [*stored, again]} == {200}
    assert again.json()["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    url = again.json()["result_url"].removeprefix(URL)
    read = await nobody.get(url)
    assert (read.content, read.headers["x-result-sha256"]) == (CONTENT, again.json()["sha256"])
    assert await gateway.database["results"].count_documents({}) == 1
    assert await gateway.database["result_content.files"].count_documents({}) == 1


async def test_what_opens_nothing(gateway: Any, nobody: httpx.AsyncClient) -> None:
    secret = gateway.gateway.settings.artifact_url_secret
    reading = sign_result_url(URL, "res_1", secret, valid_seconds=60).removeprefix(URL)
    for refused in (_upload(gateway, "res_2").replace("res_2", "res_1"), _upload(gateway, "res_1", -1)):
        assert (await nobody.put(refused, content=b"x")).status_code == 403
    assert (await nobody.put(reading.replace("/content", ""), content=b"x")).status_code == 403
    assert (await nobody.get(_upload(gateway, "res_1").replace("res_1", "res_1/content"))).status_code == 403
    assert (await nobody.get(reading)).status_code == 404

    large = await nobody.put(_upload(gateway, "res_1"), content=CONTENT + b"!")
    assert (large.status_code, large.json()["code"]) == (413, "result_too_large")
    assert await gateway.database["results"].count_documents({}) == 0
    assert await gateway.database["results"].count_documents({"delete_at": {"$lt": now()}}) == 0


async def test_files_of_allowed_directories_only(gateway: Any, nobody: httpx.AsyncClient, tmp_path: Path) -> None:
    secret = gateway.gateway.settings.artifact_url_secret
    inside, outside = tmp_path / "allowed" / "model one.pkl", tmp_path / "secret.pkl"
    inside.write_bytes(b"model")
    outside.write_bytes(b"secret")
    (tmp_path / "allowed" / "link").symlink_to(outside)

    async def read(path: object) -> httpx.Response:
        return await nobody.get(sign_file_url(URL, str(path), secret, valid_seconds=60).removeprefix(URL))

    answer = await read(inside)
    assert (answer.content, bool(answer.headers["etag"])) == (b"model", True)
    inside.write_bytes(b"newer model")
    assert (await read(inside)).headers["etag"] != answer.headers["etag"]
    for path in (outside, tmp_path / "allowed" / "link", tmp_path / "allowed" / ".." / "secret.pkl", "a\0b", "model"):
        refused = await read(path)
        assert (refused.status_code, refused.json()["code"]) == (403, "artifact_directory_not_allowed")
    for path in (tmp_path / "allowed" / "missing", tmp_path / "allowed"):
        assert (await read(path)).status_code == 404
    unsigned = sign_file_url(URL, str(inside), "another secret altogether", valid_seconds=60).removeprefix(URL)
    assert (await nobody.get(unsigned)).status_code == 403
