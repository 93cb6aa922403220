"""`Idempotency-Key`: a request runs once, its answer is given as often as it is asked for."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx

from model_engine_contracts.api.api_keys import AccessScope
from model_engine_gateway.bundles import Bundles
from model_engine_gateway.clock import now
from model_engine_gateway.repositories import idempotency
from model_engine_gateway.repositories.idempotency import Done, IdempotencyRepository
from model_engine_local.testing import eventually

BUNDLES = "/v2/model-bundles"
KEY = {"idempotency-key": "one"}


async def _bundles(client: httpx.AsyncClient) -> int:
    return len((await client.get(BUNDLES)).json()["model_bundles"])


async def test_a_request_runs_once_and_its_answer_is_replayed(
    client: httpx.AsyncClient, start: Callable[..., Awaitable[Any]], bundle_body: dict[str, Any]
) -> None:
    first = await client.post(BUNDLES, json=bundle_body, headers=KEY)
    assert first.status_code == 200
    assert "idempotency-replayed" not in first.headers

    other = await start()
    async with httpx.AsyncClient(base_url=other.url, auth=client.auth) as elsewhere:
        again = await elsewhere.post(BUNDLES, json=bundle_body, headers=KEY)
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == first.headers["content-type"]

    for changed in (
        await client.post(BUNDLES, json={**bundle_body, "name": "other"}, headers=KEY),
        await client.post("/v1/model-bundles", json=bundle_body, headers=KEY),
        await client.post(BUNDLES, params={"x": "y"}, json=bundle_body, headers=KEY),
    ):
        assert (changed.status_code, changed.json()["code"]) == (422, "idempotency_key_reused")
    assert await _bundles(client) == 1


async def test_keys_belong_to_their_owner_and_to_its_scopes(
    client: httpx.AsyncClient, stranger: httpx.AsyncClient, platform: Any, bundle_body: dict[str, Any]
) -> None:
    mine = await client.post(BUNDLES, json=bundle_body, headers=KEY)
    theirs = await stranger.post(BUNDLES, json=bundle_body, headers=KEY)
    assert mine.json() != theirs.json()
    async with platform.client(await platform.new_key("ada", scopes=[AccessScope.READ])) as reader:
        refused = await reader.post(BUNDLES, json=bundle_body, headers=KEY)
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    async with httpx.AsyncClient(base_url=platform.url) as nobody:
        assert (await nobody.post(BUNDLES, json=bundle_body, headers=KEY)).status_code == 401


async def test_what_changed_nothing_leaves_the_key_free(client: httpx.AsyncClient, bundle_body: dict[str, Any]) -> None:
    wrong = await client.post(BUNDLES, json={**bundle_body, "name": 1}, headers=KEY)
    assert wrong.status_code == 422
    assert wrong.json()["detail"][0]["loc"] == ["body", "name"]
    assert (await client.post(BUNDLES, json=bundle_body, headers=KEY)).status_code == 200
    for bad in ("", "a b", "x" * 256):
        refused = await client.post(BUNDLES, json=bundle_body, headers={"idempotency-key": bad})
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_header")


async def test_of_requests_at_the_same_time_one_runs(
    client: httpx.AsyncClient, bundle_body: dict[str, Any], monkeypatch: Any
) -> None:
    running, go_on, create = asyncio.Event(), asyncio.Event(), Bundles.create_v2

    async def slowly(*arguments: Any) -> str:
        running.set()
        await go_on.wait()
        return await create(*arguments)

    monkeypatch.setattr(Bundles, "create_v2", slowly)
    first = asyncio.create_task(client.post(BUNDLES, json=bundle_body, headers=KEY))
    await running.wait()
    meanwhile = await client.post(BUNDLES, json=bundle_body, headers=KEY)
    assert (meanwhile.status_code, meanwhile.json()["code"]) == (409, "idempotency_key_in_use")
    assert meanwhile.headers["retry-after"] == "1"
    go_on.set()
    made = (await first).json()
    assert (await client.post(BUNDLES, json=bundle_body, headers=KEY)).json() == made


async def test_an_unexpected_error_is_told_and_frees_the_key(
    client: httpx.AsyncClient, bundle_body: dict[str, Any], monkeypatch: Any
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("the inside")

    with monkeypatch.context() as patch:
        patch.setattr(Bundles, "create_v2", broken)
        failed = await client.post(BUNDLES, json=bundle_body, headers=KEY)
    assert (failed.status_code, failed.json()["code"]) == (500, "internal_error")
    assert (await client.post(BUNDLES, json=bundle_body, headers=KEY)).status_code == 200


async def test_uploads_are_compared_by_their_bytes(client: httpx.AsyncClient) -> None:
    async def upload(content: bytes) -> httpx.Response:
        return await client.post("/v1/artifacts", content=content, headers=KEY)

    first = await upload(b"a" * 300_000)
    assert (await upload(b"a" * 300_000)).json() == first.json()
    assert (await upload(b"b" * 300_000)).status_code == 422


async def test_async_tasks_and_new_api_keys_take_part(
    client: httpx.AsyncClient,
    bundle_id: str,
    endpoint_body: dict[str, Any],
    platform: Any,
) -> None:
    queue = {**endpoint_body, "name": "queue", "endpoint_type": "async", "model_bundle_id": bundle_id}
    assert (await client.post("/v1/model-endpoints", json=queue)).status_code == 200
    listed = await client.get("/v1/model-endpoints", params={"name": "queue"})
    target = {"model_endpoint_id": listed.json()["model_endpoints"][0]["id"]}
    answers = [
        await client.post("/v1/async-tasks", params=target, json={"args": {"x": 1}}, headers=KEY) for _ in range(3)
    ]
    assert len({answer.json()["task_id"] for answer in answers}) == 1
    assert await platform.database["tasks"].count_documents({}) == 1

    admin = {"authorization": f"Bearer {platform.gateway.settings.admin_token}", **KEY}
    async with httpx.AsyncClient(base_url=platform.url, headers=admin) as administrator:
        keys = [(await administrator.post("/v1/admin/api-keys", json={"owner": "eve"})).json() for _ in range(2)]
    assert keys[0] == keys[1]
    async for record in platform.database["idempotency"].find():
        assert keys[0]["key"] not in str(record), "answers are stored encrypted"


async def test_a_dead_attempt_gives_its_key_back(mongo_db: Any) -> None:
    records, moment = IdempotencyRepository(mongo_db), now()
    assert await records.claim("r", "dead", moment)
    assert not await records.claim("r", "second", moment + idempotency.HOLD)
    await records.hold("r", "dead", moment + timedelta(seconds=5))
    later = moment + timedelta(seconds=6) + idempotency.HOLD
    claims = await asyncio.gather(*(records.claim("r", f"attempt-{number}", later) for number in range(5)))
    assert sum(claims) == 1
    await records.finish("r", "dead", Done("f", b"of the dead"))
    await records.release("r", "dead")
    assert await records.find("r") is None
    winner = f"attempt-{claims.index(True)}"
    await records.finish("r", winner, Done("f", b"answer"))
    await records.release("r", winner)
    assert await records.find("r") == Done("f", b"answer")
    assert not await records.claim("r", "late", later + timedelta(hours=1))


async def test_a_long_request_keeps_its_key(
    client: httpx.AsyncClient, platform: Any, bundle_body: dict[str, Any], monkeypatch: Any
) -> None:
    monkeypatch.setattr("model_engine_gateway.idempotency.HOLD", timedelta(seconds=0.15))
    create, records = Bundles.create_v2, platform.database["idempotency"]

    async def until_held_again(*arguments: Any) -> str:
        begun = (await records.find_one({}))["held_until"]

        async def is_held_longer() -> bool:
            return bool((await records.find_one({}))["held_until"] > begun)

        await eventually(is_held_longer)
        return await create(*arguments)

    monkeypatch.setattr(Bundles, "create_v2", until_held_again)
    assert (await client.post(BUNDLES, json=bundle_body, headers=KEY)).status_code == 200
