"""Owners never see each other's anything: every route of the document, with every kind of key."""

import re
from base64 import b64encode
from typing import Any

import httpx

OPEN = {"/healthcheck", "/healthz", "/readyz", "/v1/artifacts/{artifact_id}/content"}
REQUESTED = "modelengine.endpoint.requested.v1"
ADMIN = re.compile(r"^/v1/admin/")


def _operations(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]


def _url(path: str, identifier: str) -> str:
    return re.sub(r"\{[a-z_]+\}", identifier, path)


def _body(method: str, path: str, bundle_id: str, endpoint_body: dict[str, Any], bundle_body: dict[str, Any]) -> Any:
    if method not in ("POST", "PUT"):
        return None
    if path == "/v1/model-endpoints":
        return {**endpoint_body, "name": "stolen", "model_bundle_id": bundle_id}
    if path == "/v2/model-bundles":
        return bundle_body
    return {}


async def test_foreign_and_missing_things_answer_alike(
    client: httpx.AsyncClient,
    stranger: httpx.AsyncClient,
    endpoint_id: str,
    bundle_id: str,
    endpoint_body: dict[str, Any],
    bundle_body: dict[str, Any],
) -> None:
    document = (await client.get("/openapi.json")).json()
    walked = 0
    for method, path in _operations(document):
        if path in OPEN or ADMIN.match(path) or path == "/v1/artifacts":
            continue
        own = endpoint_id if "endpoint" in path or "tasks" in path else bundle_id
        missing = own[:-4] + "0000"
        query = {"model_endpoint_id": own, "model_name": "digits", "follow": "false", "type": REQUESTED}
        foreign = await stranger.request(
            method, _url(path, own), params=query, json=_body(method, path, bundle_id, endpoint_body, bundle_body)
        )
        absent = await stranger.request(
            method,
            _url(path, missing),
            params={**query, "model_endpoint_id": missing},
            json=_body(method, path, bundle_id[:-4] + "0000", endpoint_body, bundle_body),
        )
        told, expected = foreign.text.replace(own, "ID"), absent.text.replace(missing, "ID")
        if foreign.status_code != 200 or "{" in path:
            assert (method, path, foreign.status_code, told) == (method, path, absent.status_code, expected)
        for secret in (bundle_id, endpoint_id, '"ada"'):
            assert secret not in told, (method, path)
        walked += 1
    assert walked >= 17
    still = await client.get(f"/v1/model-endpoints/{endpoint_id}")
    assert still.json()["status"] == "UPDATE_PENDING"


NO_KEYS: list[tuple[str | None, str, str]] = [
    (None, "Bearer", "No authentication was passed in"),
    ("Digest x", "Bearer", "No authentication was passed in"),
    ("Basic %%%", "Basic", "Not authenticated"),
    ("Basic " + b64encode(b"no colon").decode(), "Basic", "Not authenticated"),
    ("Basic " + b64encode(b":").decode(), "Basic", "Could not authenticate user"),
    ("Basic " + b64encode(b"me_unknown:").decode(), "Basic", "Could not authenticate user"),
    ("Bearer me_unknown", "Bearer", "Could not authenticate user"),
    ("Bearer", "Bearer", "Could not authenticate user"),
]


async def test_without_a_valid_key_nothing_opens_and_no_body_is_read(platform: Any) -> None:
    async with httpx.AsyncClient(base_url=platform.url) as nobody:
        operations = _operations((await nobody.get("/openapi.json")).json())
        for authorization, scheme, detail in NO_KEYS:
            headers = {"content-type": "application/json"} | ({"authorization": authorization} if authorization else {})
            for method, path in operations:
                if path in OPEN:
                    continue
                content = b"{bad" if method in ("POST", "PUT") else None
                answer = await nobody.request(method, _url(path, "x"), content=content, headers=headers)
                assert (method, path, answer.status_code) == (method, path, 401)
                assert answer.json()["detail"] == detail
                assert answer.headers["www-authenticate"] == scheme


async def test_a_key_of_an_owner_is_not_the_administrators(client: httpx.AsyncClient) -> None:
    for method, path in (("GET", "/v1/admin/api-keys"), ("DELETE", "/v1/admin/api-keys/key_x")):
        assert (await client.request(method, path)).status_code == 401


async def test_both_schemes_name_the_same_owner(client: httpx.AsyncClient, platform: Any, endpoint_id: str) -> None:
    key = await platform.new_key("ada")
    async with httpx.AsyncClient(base_url=platform.url, headers={"authorization": f"bearer {key}"}) as bearer:
        assert (await bearer.get(f"/v1/model-endpoints/{endpoint_id}")).status_code == 200
    async with httpx.AsyncClient(base_url=platform.url, auth=(key, "ignored")) as basic:
        assert (await basic.get(f"/v1/model-endpoints/{endpoint_id}")).status_code == 200
