"""What holds for every request: paths, health, overload, errors, the document."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from model_engine_chassis import mongo
from model_engine_chassis.health import Health
from model_engine_gateway.edge import Edge
from model_engine_local.servers import MongoServer
from model_engine_local.testing import eventually

OPERATION_IDS = {
    "create_model_bundle_v1_model_bundles_post",
    "list_model_bundles_v1_model_bundles_get",
    "get_latest_model_bundle_v1_model_bundles_latest_get",
    "get_model_bundle_v1_model_bundles__model_bundle_id__get",
    "create_model_bundle_v2_model_bundles_post",
    "list_model_bundles_v2_model_bundles_get",
    "get_latest_model_bundle_v2_model_bundles_latest_get",
    "get_model_bundle_v2_model_bundles__model_bundle_id__get",
    "create_model_endpoint_v1_model_endpoints_post",
    "list_model_endpoints_v1_model_endpoints_get",
    "get_model_endpoint_v1_model_endpoints__model_endpoint_id__get",
    "update_model_endpoint_v1_model_endpoints__model_endpoint_id__put",
    "delete_model_endpoint_v1_model_endpoints__model_endpoint_id__delete",
    "restart_model_endpoint_v1_model_endpoints__model_endpoint_id__restart_post",
    "create_async_inference_task_v1_async_tasks_post",
    "get_async_inference_task_v1_async_tasks__task_id__get",
    "create_sync_inference_task_v1_sync_tasks_post",
    "create_streaming_inference_task_v1_streaming_tasks_post",
    "healthcheck_healthcheck_get",
    "healthcheck_healthz_get",
    "healthcheck_readyz_get",
}


async def test_health_is_empty_and_open(platform: Any) -> None:
    async with httpx.AsyncClient(base_url=platform.url) as nobody:
        for path in ("/healthcheck", "/healthz", "/readyz"):
            answer = await nobody.get(path)
            assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
            assert "content-type" not in answer.headers
        verbose = (await nobody.get("/readyz?verbose")).json()
        assert verbose == {"ready": True, "checks": {"mongo": "ok", "nats": "ok", "redis": "ok"}}
        assert "modelengine_control_requests_total" in (await nobody.get("/metrics")).text
        for page, text in (("/docs", "swagger"), ("/api", "redoc")):
            assert text in (await nobody.get(page)).text
        assert (await nobody.get("/redoc")).status_code == 404


async def test_unknown_paths_and_verbs_and_trailing_slashes(client: httpx.AsyncClient) -> None:
    unknown = await client.get("/v1/nope")
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "Not Found")
    for path in ("/v1/model-endpoints", "/v1/sync-tasks", "/v1/async-tasks/x"):
        wrong = await client.patch(path)
        assert (path, wrong.status_code, wrong.json()["detail"]) == (path, 405, "Method Not Allowed")
    for path in ("/v1/model-endpoints/", "/v2/model-bundles/", "/v1/sync-tasks/", "/v1/async-tasks/"):
        moved = await client.post(path)
        assert moved.status_code == 307
        assert moved.headers["location"].endswith(path.rstrip("/"))


async def test_the_document_names_every_operation(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    operations = {
        operation["operationId"]: operation for path in document["paths"].values() for operation in path.values()
    }

    assert (document["openapi"], document["info"]) == ("3.1.0", {"title": "launch", "version": "1.0.0"})
    assert operations.keys() >= OPERATION_IDS
    secured = [{"HTTPBasic": []}, {"OAuth2PasswordBearer": []}]
    assert operations["create_model_endpoint_v1_model_endpoints_post"]["security"] == secured
    assert "security" not in operations["healthcheck_healthz_get"]
    schemas = document["components"]["schemas"]
    references = set(re.findall(r"#/components/schemas/([^\"]+)\"", (await client.get("/openapi.json")).text))
    assert references <= schemas.keys()
    assert {"SyncEndpointPredictV1Response", "HTTPValidationError", "CallbackmTLSAuth"} <= schemas.keys()


async def test_a_database_that_is_gone_is_503_and_then_all_is_well_again(
    mongo_server: MongoServer, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo, "TIMEOUT_SECONDS", 0.5)
    platform = await start(mongo_url=mongo_server.url)
    async with platform.client(await platform.new_key("ada")) as client:
        assert (await client.get("/v1/model-endpoints")).status_code == 200
        mongo_server.kill()
        down = await client.get("/v1/model-endpoints")
        assert (down.status_code, down.json()["code"]) == (503, "database_unavailable")
        assert down.headers["retry-after"] == "1"
        mongo_server.start()

        async def serves() -> bool:
            return (await client.get("/v1/model-endpoints")).status_code == 200

        await eventually(serves, timeout=20)


async def _ask(edge: Edge, path: str) -> tuple[int, bytes]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": path, "method": "GET", "query_string": b"", "headers": []}
    await edge(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def test_overload_is_told_and_health_is_exempt() -> None:
    release, running = asyncio.Event(), asyncio.Event()

    async def control(scope: Any, receive: Any, send: Any) -> None:
        running.set()
        await release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    edge = Edge(plain={}, prefixed={}, control=control, health=Health(), limit=1)
    first = asyncio.create_task(_ask(edge, "/v1/model-endpoints"))
    await running.wait()

    status, body = await _ask(edge, "/v1/model-endpoints")
    assert status == 429
    assert b'"error":"Too many requests"' in body
    assert re.search(rb'"timestamp":"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d P[SD]T"', body)
    assert (await _ask(edge, "/healthz"))[0] == 200
    release.set()
    assert await first == (200, b"done")
    assert (await _ask(edge, "/v1/model-endpoints"))[0] == 200


async def test_unexpected_errors_have_an_id_and_no_inside(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model_engine_gateway.endpoints import Endpoints

    async def broken(*_: Any) -> None:
        raise RuntimeError("the inside")

    monkeypatch.setattr(Endpoints, "list", broken)
    answer = await client.get("/v1/model-endpoints")
    assert answer.status_code == 500
    told = answer.json()
    assert told["error"] == "Internal error occurred. Our team has been notified."
    assert re.fullmatch(r"[0-9a-f-]{36}", told["request_id"])
    assert "inside" not in answer.text
