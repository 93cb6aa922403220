"""Owners never see each other's anything: every route of the document, with every kind of key."""

import re
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from model_engine_gateway.clock import now

OPEN = {"/healthcheck", "/healthz", "/readyz", "/v1/artifacts/{artifact_id}/content"} | {
    "/v1/artifact-files",
    "/v1/results/{result_id}",
    "/v1/results/{result_id}/content",
}
REQUESTED = "modelengine.endpoint.requested.v1"
ADMIN = re.compile(r"^/v1/admin/")


def _operations(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]


def _url(path: str, identifier: str) -> str:
    return re.sub(r"\{[a-z_]+\}", identifier, path)


class Things:
    """One of everything that `ada` has, and as many ids that nobody has."""

    def __init__(self, endpoint: str, bundle: str, task: str, subscription: str) -> None:
        self._by_parameter = {
            "model_endpoint_id": endpoint,
            "model_bundle_id": bundle,
            "task_id": task,
            "subscription_id": subscription,
        }
        self.ids = tuple(self._by_parameter.values())

    def missing(self) -> "Things":
        return Things(*(identifier[:-6] + "000000" for identifier in self.ids))

    def request(self, method: str, path: str, endpoint_body: dict[str, Any], bundle_body: dict[str, Any]) -> Any:
        """The arguments of a request for these things; a route takes what it knows of the body."""
        endpoint, bundle, *_ = self.ids
        url = re.sub(r"\{([a-z_]+)\}", lambda match: self._by_parameter.get(match[1], endpoint), path)
        body = {
            **endpoint_body,
            "name": "stolen",
            "model_bundle_id": bundle,
            "original_model_bundle_id": bundle,
            "endpoint_id": endpoint,
            "url": "http://127.0.0.1:9/",
            "args": {},
            "generation": 1,
        }
        if path == "/v2/model-bundles":
            body = bundle_body
        query = {"model_endpoint_id": endpoint, "endpoint_id": endpoint, "model_name": "digits", "follow": "false"}
        return {"method": method, "url": url, "params": query, "json": body if method in ("POST", "PUT") else None}

    def hidden_in(self, text: str) -> str:
        for identifier in self.ids:
            text = text.replace(identifier, "ID")
        return text


@pytest.fixture
async def platform(start: Callable[..., Awaitable[Any]]) -> Any:
    """A gateway that may call this machine, where nobody listens."""
    return await start(allowed_callback_networks="127.0.0.0/8")


@pytest.fixture
async def things(client: httpx.AsyncClient, endpoint_id: str, bundle_id: str, endpoint_body: dict[str, Any]) -> Things:
    queue = {**endpoint_body, "name": "queue", "endpoint_type": "async", "model_bundle_id": bundle_id}
    assert (await client.post("/v1/model-endpoints", json=queue)).status_code == 200
    listed = await client.get("/v1/model-endpoints", params={"name": "queue"})
    target = {"model_endpoint_id": listed.json()["model_endpoints"][0]["id"]}
    task = await client.post("/v1/async-tasks", params=target, json={"args": {}})
    subscription = await client.post("/v1/event-subscriptions", json={"url": "http://127.0.0.1:9/"})
    return Things(endpoint_id, bundle_id, task.json()["task_id"], subscription.json()["id"])


async def test_foreign_and_missing_things_answer_alike(
    client: httpx.AsyncClient,
    stranger: httpx.AsyncClient,
    things: Things,
    endpoint_body: dict[str, Any],
    bundle_body: dict[str, Any],
) -> None:
    document = (await client.get("/openapi.json")).json()
    operations = [
        (method, path)
        for method, path in _operations(document)
        if path not in OPEN and not ADMIN.match(path) and path != "/v1/artifacts"
    ]
    # Lists first: what the stranger asks for later is in the trail of its own history.
    operations.sort(key=lambda operation: (operation[0] != "GET", "{" in operation[1]))
    nothing = things.missing()
    for method, path in operations:
        foreign = await stranger.request(**things.request(method, path, endpoint_body, bundle_body))
        absent = await stranger.request(**nothing.request(method, path, endpoint_body, bundle_body))
        told, expected = things.hidden_in(foreign.text), nothing.hidden_in(absent.text)
        if foreign.status_code != 200 or "{" in path:
            assert (method, path, foreign.status_code, told) == (method, path, absent.status_code, expected)
            assert foreign.headers.keys() == absent.headers.keys()
        if "{" not in path and method == "GET":
            assert told == foreign.text, (method, path)
        assert '"ada"' not in told, (method, path)
    assert len(operations) >= 24
    endpoint, _, task, subscription = things.ids
    assert (await client.get(f"/v1/model-endpoints/{endpoint}")).json()["status"] == "UPDATE_PENDING"
    assert (await client.get(f"/v1/async-tasks/{task}")).json()["status"] == "PENDING"
    assert (await client.get(f"/v1/event-subscriptions/{subscription}")).json()["status"] == "ACTIVE"


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
    expired = await platform.new_key("ada", expires_in_seconds=60)
    await platform.database["api_keys"].update_one({"owner": "ada"}, {"$set": {"expires_at": now()}})
    async with httpx.AsyncClient(base_url=platform.url) as nobody:
        operations = _operations((await nobody.get("/openapi.json")).json())
        for authorization, scheme, detail in [*NO_KEYS, (f"Bearer {expired}", "Bearer", "Could not authenticate user")]:
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
