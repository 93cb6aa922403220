"""API keys: made and revoked by the administrator, and refused everywhere soon after."""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any

import httpx
import pytest

from model_engine_gateway import principals as principals_module
from model_engine_gateway.errors import ApiError
from model_engine_gateway.principals import Principal, Principals, key_hash
from model_engine_local.servers import NatsServer
from model_engine_local.testing import eventually


@pytest.fixture
async def admin(platform: Any) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {platform.gateway.settings.admin_token}"}
    async with httpx.AsyncClient(base_url=platform.url, headers=headers) as client:
        yield client


async def _is_refused(url: str, key: str) -> bool:
    async with httpx.AsyncClient(base_url=url, auth=(key, "")) as client:
        return (await client.get("/v1/model-endpoints")).status_code == 401


async def test_a_key_is_shown_once_and_stored_as_its_hash(admin: httpx.AsyncClient, platform: Any) -> None:
    created = (await admin.post("/v1/admin/api-keys", json={"owner": "ada", "user": "lovelace"})).json()

    assert created["key"].startswith("me_")
    listed = (await admin.get("/v1/admin/api-keys")).json()["api_keys"]
    assert [(key["id"], key["owner"], key["user"]) for key in listed] == [(created["id"], "ada", "lovelace")]
    stored = await platform.database["api_keys"].find_one({})
    assert stored["hash"] == key_hash(created["key"])
    assert created["key"] not in str(stored)


async def test_a_revocation_reaches_every_gateway(
    start: Callable[..., Awaitable[Any]], platform: Any, admin: httpx.AsyncClient, nats_server: NatsServer
) -> None:
    other = await start()
    keys = [(await admin.post("/v1/admin/api-keys", json={"owner": "ada"})).json() for _ in range(2)]
    for key in keys:
        for gateway in (platform, other):
            assert not await _is_refused(gateway.url, key["key"])

    assert (await admin.delete(f"/v1/admin/api-keys/{keys[0]['id']}")).json() == {"revoked": True}
    for gateway in (platform, other):
        await eventually(lambda gateway=gateway: _is_refused(gateway.url, keys[0]["key"]), timeout=3)

    nats_server.kill()
    assert (await admin.delete(f"/v1/admin/api-keys/{keys[1]['id']}")).json() == {"revoked": True}
    for gateway in (platform, other):
        await eventually(lambda gateway=gateway: _is_refused(gateway.url, keys[1]["key"]), timeout=4)
    nats_server.start()
    again = await admin.delete(f"/v1/admin/api-keys/{keys[1]['id']}")
    assert again.json() == {"revoked": True}
    assert (await admin.delete("/v1/admin/api-keys/key_x")).status_code == 404


class _Keys:
    """Keys without a database: it can be down, and a revocation can come while a read is under way."""

    def __init__(self) -> None:
        self.down = False
        self.revoked: list[tuple[str, datetime]] = []

    async def find_active(self, key_hash: str) -> dict[str, str] | None:
        if self.down:
            raise ConnectionError
        return {"_id": "key_1", "owner": "ada", "user": "ada"}

    async def changed_since(self, moment: datetime | None) -> list[tuple[str, datetime]]:
        if self.down:
            raise ConnectionError
        return self.revoked


BEARER = b"Bearer me_1"
BASIC = b"Basic " + base64.b64encode(b"me_1:")


async def test_known_keys_are_honoured_for_a_minute_without_database_and_nats(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, connected, clock = _Keys(), True, 1000.0
    monkeypatch.setattr(principals_module.time, "monotonic", lambda: clock)
    principals = Principals(keys, lambda: connected)
    known = Principal("ada", "ada", "key_1")
    assert await principals.authenticate(BEARER) == known

    keys.down = True
    clock += 3600
    assert await principals.authenticate(BEARER) == known
    connected = False
    with pytest.raises(ApiError) as refused:
        await principals.authenticate(BEARER)
    assert (refused.value.status, refused.value.headers) == (503, {"retry-after": "1"})

    keys.down = False
    await principals.poll()
    keys.down = True
    clock += 59
    assert await principals.authenticate(BEARER) == known
    with pytest.raises(ApiError) as unknown:
        await principals.authenticate(BASIC)
    assert unknown.value.status == 503


async def test_every_form_of_a_revoked_key_is_forgotten() -> None:
    keys = _Keys()
    principals = Principals(keys, lambda: True)
    for header in (BEARER, BASIC):
        await principals.authenticate(header)

    keys.revoked = [("key_1", datetime.now().astimezone())]
    await principals.poll()
    keys.down = True
    for header in (BEARER, BASIC):
        with pytest.raises(ApiError):
            await principals.authenticate(header)
