"""What a key opens: its scopes, its end, its rotation; identity resolvers; and the trail of what was asked."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from model_engine_chassis.settings_base import SettingsError
from model_engine_contracts.api.api_keys import ALL_SCOPES, AccessScope
from model_engine_gateway import principals as principals_module
from model_engine_gateway.access import needed_scope
from model_engine_gateway.clock import now
from model_engine_gateway.identity import Identity, load_identify
from model_engine_local.testing import eventually

KEYS = "/v1/admin/api-keys"
SIGNED = {
    "/v1/artifacts/{artifact_id}/content",
    "/v1/artifact-files",
    "/v1/results/{result_id}",
    "/v1/results/{result_id}/content",
}
"""What a signature in the address opens, instead of a key."""

IMAGE = {
    "flavor": "runnable_image",
    "requirements": [],
    "repository": "r",
    "tag": "t",
    "command": ["x"],
    "protocol": "http",
    "framework": {"framework_type": "custom_base_image", "image_repository": "r", "image_tag": "t"},
}


@pytest.fixture
async def admin(platform: Any) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {platform.gateway.settings.admin_token}"}
    async with httpx.AsyncClient(base_url=platform.url, headers=headers) as client:
        yield client


def test_the_scope_of_every_kind_of_request() -> None:
    endpoint = "/v1/model-endpoints/x"
    assert needed_scope("GET", "/v1/events") is AccessScope.READ
    assert needed_scope("GET", "/v1/async-tasks/x") is AccessScope.READ
    assert needed_scope("POST", "/v1/async-tasks") is AccessScope.INVOKE
    assert needed_scope("POST", "/v1/sync-tasks") is AccessScope.INVOKE
    assert needed_scope("POST", "/v1/streaming-tasks") is AccessScope.INVOKE
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert needed_scope(method, endpoint) is AccessScope.MANAGE


async def test_every_route_demands_its_scope(platform: Any, client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    operations = [
        (method.upper(), re.sub(r"\{[a-z_]+\}", "x", path))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "security" in operation and not path.startswith("/v1/admin/") and path not in SIGNED
    ]
    assert len(operations) >= 20
    for held in ALL_SCOPES:
        async with platform.client(await platform.new_key("ada", scopes=[held])) as narrow:
            for method, path in operations:
                answer = await narrow.request(method, path, params={"follow": "false"})
                needed = needed_scope(method, path)
                if needed is held:
                    assert answer.status_code != 403, (method, path)
                    continue
                assert (method, path, answer.status_code) == (method, path, 403)
                assert answer.json()["code"] == "insufficient_scope"
                assert f"scope '{needed}'" in answer.json()["detail"]
                assert f'scope="{needed}"' in answer.headers["www-authenticate"]


async def test_a_key_ends_when_it_was_said_to(
    platform: Any, admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (await admin.post(KEYS, json={"owner": "ada", "expires_in_seconds": 3600})).json()
    async with platform.client(made["key"]) as client:
        assert (await client.get("/v1/model-endpoints")).status_code == 200
        monkeypatch.setattr(principals_module, "now", lambda: now() + timedelta(seconds=3601))
        for _ in range(2):
            ended = await client.get("/v1/model-endpoints")
            assert (ended.status_code, ended.json()["code"]) == (401, "api_key_expired")
            assert ended.json()["detail"] == "Could not authenticate user"


async def test_a_rotation_loses_no_request_and_ends_the_old_key_everywhere(
    platform: Any, admin: httpx.AsyncClient, start: Callable[..., Awaitable[Any]]
) -> None:
    other = await start()
    fields = {"owner": "ada", "user": "lovelace", "scopes": ["read"], "privileged": False}
    old = (await admin.post(KEYS, json=fields)).json()
    url = f"{KEYS}/{old['id']}/rotate"

    async def status(gateway: Any, key: str) -> int:
        async with gateway.client(key) as client:
            return int((await client.get("/v1/model-endpoints")).status_code)

    assert [await status(gateway, old["key"]) for gateway in (platform, other)] == [200, 200]
    overlapping = (await admin.post(url, json={"overlap_seconds": 3600})).json()
    for gateway in (platform, other):
        assert [await status(gateway, key["key"]) for key in (old, overlapping)] == [200, 200]

    final = (await admin.post(url, json={"overlap_seconds": 0, "expires_in_seconds": 60})).json()
    assert final["replaces"] == old["id"]
    for gateway in (platform, other):

        async def is_refused(gateway: Any = gateway) -> bool:
            return await status(gateway, old["key"]) == 401

        await eventually(is_refused, timeout=3)
        assert await status(gateway, final["key"]) == 200
    listed = {key["id"]: key for key in (await admin.get(KEYS)).json()["api_keys"]}
    successor = listed[final["id"]]
    assert {name: successor[name] for name in fields} == fields
    assert successor["expires_at"] is not None
    assert (await admin.post(url, json={"overlap_seconds": 0})).json()["code"] == "api_key_inactive"
    assert (await admin.post(f"{KEYS}/key_x/rotate", json={"overlap_seconds": 0})).status_code == 404
    unbounded = await admin.post(url, json={})
    assert unbounded.json()["detail"][0]["loc"] == ["body", "overlap_seconds"]


async def test_an_image_of_ones_own_is_a_privilege(platform: Any, bundle_body: dict[str, Any]) -> None:
    custom = {**bundle_body["flavor"], "framework": IMAGE["framework"]}
    async with platform.client(await platform.new_key("ada", privileged=False)) as client:
        for flavor in (IMAGE, custom):
            refused = await client.post("/v2/model-bundles", json={**bundle_body, "flavor": flavor})
            assert refused.status_code == 403
            expected = "User is not authorized to create model bundle with the specified settings."
            assert refused.json()["detail"] == expected
        assert (await client.post("/v2/model-bundles", json=bundle_body)).status_code == 200
    async with platform.client(await platform.new_key("ada")) as client:
        for flavor in (IMAGE, custom):
            assert (await client.post("/v2/model-bundles", json={**bundle_body, "flavor": flavor})).status_code == 200


class Directory:
    """An identity service of the operator's: `user@team`, and what it answers to others."""

    async def resolve(self, credential: str) -> Identity | None:
        if credential == "broken":
            raise ConnectionError
        user, at, team = credential.partition("@")
        return Identity(user, team, is_privileged_user=False, scopes=frozenset({AccessScope.READ})) if at else None


async def test_an_identity_resolver_takes_the_place_of_keys(start: Callable[..., Awaitable[Any]]) -> None:
    platform = await start(identity=f"{__name__}:Directory")

    async def answer(credential: str, method: str = "GET") -> tuple[int, str]:
        async with platform.client(credential) as client:
            response = await client.request(method, "/v1/model-endpoints", json={} if method == "POST" else None)
        return response.status_code, response.json().get("code", "")

    assert await answer("ada@engines") == (200, "")
    assert await answer("ada@engines", "POST") == (403, "insufficient_scope")
    assert await answer("ada") == (401, "unauthenticated")
    assert await answer("a@$administrator") == (401, "unauthenticated")
    assert await answer("ada@" + "x" * 256) == (401, "unauthenticated")
    assert await answer("broken") == (503, "authentication_unavailable")


async def test_any_string_is_an_owner_only_where_the_operator_says_so(
    platform: Any, start: Callable[..., Awaitable[Any]], bundle_body: dict[str, Any]
) -> None:
    async with platform.client("anybody") as client:
        assert (await client.get("/v2/model-bundles")).status_code == 401
    legacy = await start(identity="any-string")
    async with legacy.client("anybody") as anybody, legacy.client("somebody") as somebody:
        assert (await anybody.post("/v2/model-bundles", json={**bundle_body, "flavor": IMAGE})).status_code == 200
        assert len((await anybody.get("/v2/model-bundles")).json()["model_bundles"]) == 1
        assert (await somebody.get("/v2/model-bundles")).json()["model_bundles"] == []


@pytest.mark.parametrize("name", ["anystring", "no_such_module:factory", "model_engine_gateway.identity:nothing"])
def test_a_resolver_that_cannot_be_loaded_is_a_wrong_setting(name: str) -> None:
    with pytest.raises(SettingsError, match="ME_IDENTITY"):
        load_identify(name)


async def test_every_request_for_a_change_leaves_a_trace(
    platform: Any, admin: httpx.AsyncClient, bundle_body: dict[str, Any]
) -> None:
    made = (await admin.post(KEYS, json={"owner": "ada", "user": "lovelace"})).json()
    reader = (await admin.post(KEYS, json={"owner": "ada", "scopes": ["read"]})).json()
    async with platform.client(made["key"]) as client, platform.client(reader["key"]) as narrow:
        accepted = await client.post("/v2/model-bundles", json=bundle_body)
        await client.get("/v2/model-bundles")
        refused = await client.delete("/v1/model-endpoints/end_x")
        forbidden = await narrow.post("/v2/model-bundles", json=bundle_body)
        trail: list[dict[str, Any]] = []

        async def is_told() -> bool:
            query = {"follow": "false", "type": "modelengine.audit.recorded.v1"}
            lines = (await client.get("/v1/events", params=query)).text.splitlines()
            events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
            # What is passed on together comes in any order; the times tell.
            trail[:] = [event["data"] for event in sorted(events, key=lambda event: event["time"])]
            return len(trail) == 3

        await eventually(is_told)
    assert [(entry["method"], entry["path"], entry["status"]) for entry in trail] == [
        ("POST", "/v2/model-bundles", 200),
        ("DELETE", "/v1/model-endpoints/end_x", 404),
        ("POST", "/v2/model-bundles", 403),
    ]
    answers = (accepted, refused, forbidden)
    assert [entry["request_id"] for entry in trail] == [answer.headers["x-request-id"] for answer in answers]
    assert [(entry["requested_by"], entry["key_id"]) for entry in trail] == [
        ("lovelace", made["id"]),
        ("lovelace", made["id"]),
        ("ada", reader["id"]),
    ]
    assert {entry["client_address"] for entry in trail} == {"127.0.0.1"}

    async def is_kept() -> bool:
        history = platform.database["events"]
        return await history.count_documents({"owner": "$administrator"}) == 2 and not await platform.database[
            "audit"
        ].count_documents({})

    await eventually(is_kept)
