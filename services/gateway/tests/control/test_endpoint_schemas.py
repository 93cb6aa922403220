"""Endpoints described by the schemas that were uploaded for their bundle."""

import json
from typing import Any

import httpx
import pytest

SCHEMAS = {"RequestSchema": {"type": "object"}, "ResponseSchema": {"type": "integer"}}
ANYTHING = {"title": "ResponseSchema", "description": "Any JSON."}


@pytest.mark.parametrize(
    ("content", "expected"),
    [(json.dumps(SCHEMAS), {"type": "integer"}), ("{", ANYTHING), (" " * (256 << 10) + json.dumps(SCHEMAS), ANYTHING)],
    ids=["schemas", "no JSON", "too large"],
)
async def test_an_uploaded_schema_is_shown(
    client: httpx.AsyncClient,
    stranger: httpx.AsyncClient,
    bundle_body: dict[str, Any],
    endpoint_body: dict[str, Any],
    content: str,
    expected: dict[str, Any],
) -> None:
    location = (await client.post("/v1/artifacts", content=content.encode())).json()["location"]
    for caller in (client, stranger):
        bundle = await caller.post("/v2/model-bundles", json={**bundle_body, "schema_location": location})
        body = {**endpoint_body, "model_bundle_id": bundle.json()["model_bundle_id"]}
        assert (await caller.post("/v1/model-endpoints", json=body)).status_code == 200

    async def shown(caller: httpx.AsyncClient) -> Any:
        document = (await caller.get("/v1/model-endpoints-schema.json")).json()
        return document["components"]["schemas"]["digits-ResponseSchema"]

    assert await shown(client) == expected
    assert await shown(stranger) == ANYTHING, "an artifact of others is not read"
