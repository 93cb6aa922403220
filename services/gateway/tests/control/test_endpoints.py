"""Endpoints from creation to deletion, as the API tells of them while other services report."""

import asyncio
from typing import Any

import httpx

from model_engine_contracts.events import (
    EndpointObserved,
    EndpointReleased,
    ObservedWorker,
    RolloutFailed,
    RolloutStarted,
    RolloutSucceeded,
)
from model_engine_contracts.failures import Reason, failure_info
from model_engine_local.testing import eventually


async def _get(client: httpx.AsyncClient, endpoint_id: str) -> dict[str, Any]:
    answer = await client.get(f"/v1/model-endpoints/{endpoint_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def _becomes(client: httpx.AsyncClient, endpoint_id: str, **expected: Any) -> dict[str, Any]:
    async def matches() -> dict[str, Any] | None:
        endpoint = await _get(client, endpoint_id)
        return endpoint if expected.items() <= endpoint.items() else None

    return await eventually(matches)


async def test_the_life_of_an_endpoint(client: httpx.AsyncClient, platform: Any, endpoint_id: str) -> None:
    created = await _get(client, endpoint_id)
    assert (created["status"], created["destination"], created["deployment_state"]) == (
        "UPDATE_PENDING",
        "UNKNOWN",
        None,
    )

    rollout = {"endpoint_id": endpoint_id, "generation": 1, "revision": "r1"}
    await platform.say(RolloutStarted(**rollout))
    await _becomes(client, endpoint_id, status="UPDATE_IN_PROGRESS")
    worker = ObservedWorker(id="w1", revision="r1", state="READY", address="127.0.0.1:1")
    seen = EndpointObserved(endpoint_id=endpoint_id, epoch=1, counter=1, generation=1, replicas=1, workers=(worker,))
    await platform.say(seen)
    await platform.say(RolloutSucceeded(**rollout))
    ready = await _becomes(client, endpoint_id, status="READY")
    ready = await eventually(lambda: _with_workers(client, endpoint_id, 1))
    assert ready["resource_state"]["cpus"] == "1"

    update = await client.put(f"/v1/model-endpoints/{endpoint_id}", json={"cpus": "2", "max_workers": 2})
    assert update.status_code == 200
    pending = await _get(client, endpoint_id)
    assert (pending["status"], pending["resource_state"]["cpus"]) == ("UPDATE_PENDING", "2")
    assert pending["deployment_state"]["max_workers"] == 2
    failure = failure_info(Reason.IMPORT_ERROR, "No module named 'x'")
    await platform.say(
        RolloutFailed(endpoint_id=endpoint_id, generation=2, revision="r2", failure=failure, serving_revision="r1")
    )
    failed = await _becomes(client, endpoint_id, status="UPDATE_FAILED")
    assert failed["status_reason"] == f"IMPORT_ERROR: No module named 'x' ({failure.remedy})"
    assert failed["deployment_state"]["available_workers"] == 1

    restart = await client.post(f"/v1/model-endpoints/{endpoint_id}/restart")
    assert restart.json() == {"restarted": True}

    deleting = asyncio.create_task(client.delete(f"/v1/model-endpoints/{endpoint_id}"))
    await _becomes(client, endpoint_id, status="DELETE_IN_PROGRESS")
    busy = await client.put(f"/v1/model-endpoints/{endpoint_id}", json={})
    assert (busy.status_code, busy.json()["detail"]) == (
        409,
        "Existing operation on endpoint in progress, try again later.",
    )
    await platform.say(EndpointReleased(endpoint_id=endpoint_id, generation=4))
    assert (await deleting).json() == {"deleted": True}
    gone = await client.delete(f"/v1/model-endpoints/{endpoint_id}")
    assert (gone.status_code, gone.json()["detail"]) == (404, f"Model Endpoint {endpoint_id}  was not found.")


async def _with_workers(client: httpx.AsyncClient, endpoint_id: str, count: int) -> dict[str, Any] | None:
    endpoint = await _get(client, endpoint_id)
    state = endpoint["deployment_state"]
    return endpoint if state and state["available_workers"] == count else None


async def test_a_name_is_free_again_at_once_after_the_deletion(
    client: httpx.AsyncClient, platform: Any, endpoint_id: str, bundle_id: str, endpoint_body: dict[str, Any]
) -> None:
    body = {**endpoint_body, "model_bundle_id": bundle_id}
    taken = await client.post("/v1/model-endpoints", json=body)
    assert (taken.status_code, taken.json()["detail"]) == (400, "The specified model endpoint already exists.")

    deleting = asyncio.create_task(client.delete(f"/v1/model-endpoints/{endpoint_id}"))
    await _becomes(client, endpoint_id, status="DELETE_IN_PROGRESS")
    assert (await client.post("/v1/model-endpoints", json=body)).status_code == 400
    await platform.say(EndpointReleased(endpoint_id=endpoint_id, generation=2))
    await deleting
    assert (await client.post("/v1/model-endpoints", json=body)).status_code == 200


async def test_lists_are_sorted_and_filtered(
    client: httpx.AsyncClient, bundle_id: str, endpoint_body: dict[str, Any]
) -> None:
    for name in ("b", "c", "a"):
        body = {**endpoint_body, "name": name, "model_bundle_id": bundle_id}
        assert (await client.post("/v1/model-endpoints", json=body)).status_code == 200

    async def names(**query: str) -> list[str]:
        answer = await client.get("/v1/model-endpoints", params=query)
        return [endpoint["name"] for endpoint in answer.json()["model_endpoints"]]

    assert await names(order_by="oldest") == ["b", "c", "a"]
    assert await names(order_by="newest") == ["a", "c", "b"]
    assert await names(order_by="alphabetical") == ["a", "b", "c"]
    assert await names(name="c") == ["c"]
    assert await names(name="d") == []


async def test_missing_things_have_their_texts(
    client: httpx.AsyncClient, endpoint_id: str, endpoint_body: dict[str, Any]
) -> None:
    missing_bundle = await client.post("/v1/model-endpoints", json={**endpoint_body, "model_bundle_id": "bun_x"})
    assert missing_bundle.json()["detail"] == "The specified model bundle could not be found."
    for path, body in (("end_x", {}), (endpoint_id, {"model_bundle_id": "bun_x"})):
        answer = await client.put(f"/v1/model-endpoints/{path}", json=body)
        assert (answer.status_code, answer.json()["detail"]) == (
            404,
            "The specified model endpoint or model bundle was not found.",
        )
    restart = await client.post("/v1/model-endpoints/end_x/restart")
    assert restart.json()["detail"] == "Model Endpoint end_x was not found."
    early = await client.post(f"/v1/model-endpoints/{endpoint_id}/restart")
    assert early.status_code == 400


async def test_overlapping_updates_all_count(client: httpx.AsyncClient, platform: Any, endpoint_id: str) -> None:
    changes = [{"max_workers": 7}, {"cpus": "2"}, {"memory": "2Gi"}, {"metadata": {"k": 1}}, {"prewarm": False}]
    answers = await asyncio.gather(
        *(client.put(f"/v1/model-endpoints/{endpoint_id}", json=change) for change in changes)
    )

    assert [answer.status_code for answer in answers] == [200] * len(changes)
    document = await platform.database["endpoints"].find_one({"_id": endpoint_id})
    assert document["generation"] == 1 + len(changes)
    spec = document["spec"]
    assert (spec["scaling"]["max_workers"], spec["resources"]["cpus"], spec["prewarm"]) == (7, 2.0, False)
    assert (spec["resources"]["memory_given"], spec["metadata_json"]) == ("2Gi", '{"k": 1}')


NO_JSON: list[tuple[bytes, int]] = [
    (b'{"name": }', 9),
    (b"\xff\xfe", 0),
    (b'{"a": NaN}', 0),
    (b'{"a": 1e999}', 0),
    (b"[" * 100_000, 0),
    (b'{"a": ' + b"[" * 150 + b"]" * 150 + b"}", 0),
    (b'{"a": ' + b"9" * 5000 + b"}", 0),
]


async def test_what_is_no_json_object_is_refused_with_its_place(client: httpx.AsyncClient) -> None:
    async def problem(body: bytes) -> dict[str, Any]:
        headers = {"content-type": "application/json"}
        answer = await client.post("/v1/model-endpoints", content=body, headers=headers)
        assert answer.status_code == 422, answer.text
        return dict(answer.json()["detail"][0])

    for body, offset in NO_JSON:
        found = await problem(body)
        assert (body[:20], found["type"], found["loc"]) == (body[:20], "json_invalid", ["body", offset])
    for body in (b"[]", b'"x"', b"3", b"true"):
        assert (await problem(body))["type"] == "model_attributes_type"
    for body in (b"", b" ", b"null"):
        assert (await problem(body))["type"] == "missing"
    huge = await client.post("/v1/model-endpoints", content=b'"' + b"x" * (1 << 20) + b'"')
    assert huge.status_code == 413
