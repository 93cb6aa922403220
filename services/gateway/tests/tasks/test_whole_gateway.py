"""The composed gateway: the data plane's routes are wired to keys, documents, queues and the history."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from model_engine_chassis.nats_connection import connect
from model_engine_chassis.publish import publish_result
from model_engine_chassis.settings_base import MongoSettings, NatsSettings, RedisSettings
from model_engine_contracts.documents import ENDPOINTS
from model_engine_contracts.endpoint_states import EndpointType
from model_engine_contracts.envelope import new_event
from model_engine_contracts.subjects import wake_subject
from model_engine_gateway.app import build
from model_engine_gateway.settings import GatewaySettings
from model_engine_local.testing import eventually

from .conftest import endpoint_document
from .test_results import failed, succeeded

ADMIN_TOKEN = "an-admin-token-of-tests"


@asynccontextmanager
async def running_gateways(count: int, settings: dict[str, Any]) -> AsyncIterator[tuple[list[str], asyncio.Event]]:
    """Whole gateways on ports of their own; the event stops them."""
    stop = asyncio.Event()
    gateways = [build(GatewaySettings(**settings, instance_id=f"gateway-{number}")) for number in range(count)]
    async with asyncio.TaskGroup() as tasks:
        for gateway in gateways:
            tasks.create_task(gateway.run(stop))
        try:
            for gateway in gateways:
                await gateway.started.wait()
            yield [f"http://127.0.0.1:{gateway.port}" for gateway in gateways], stop
        finally:
            stop.set()


async def manage_tasks(client: httpx.AsyncClient, url: str, auth: httpx.Auth, ids: list[str]) -> None:
    """The control routes of tasks, after the first of these has failed and the others have succeeded."""
    query: dict[str, Any] = {"status": "SUCCESS", "limit": 6, "model_endpoint_id": "end_1"}
    first = (await client.get(f"{url}/v1/async-tasks", params=query, auth=auth)).json()
    query["cursor"] = first["next_cursor"]
    rest = (await client.get(f"{url}/v1/async-tasks", params=query, auth=auth)).json()
    assert {task["task_id"] for task in first["async_tasks"] + rest["async_tasks"]} == set(ids[1:])
    assert rest["next_cursor"] is None
    ended = await client.post(f"{url}/v1/async-tasks/{ids[1]}/cancel", auth=auth)
    assert ended.json() == {"task_id": ids[1], "cancelled": False, "status": "SUCCESS"}
    letters = (await client.get(f"{url}/v1/dead-letters", auth=auth)).json()["dead_letters"]
    assert [letter["task_id"] for letter in letters] == [ids[0]]
    assert (await client.get(f"{url}/v1/dead-letters/{ids[0]}", auth=auth)).json()["request"] == '{"args":{}}'
    replayed = await client.post(f"{url}/v1/dead-letters/{ids[0]}/replay", auth=auth)
    assert replayed.json() == {"task_id": ids[0], "attempt": 2}
    cancelled = await client.post(f"{url}/v1/async-tasks/{ids[0]}/cancel", auth=auth)
    assert cancelled.json() == {"task_id": ids[0], "cancelled": True, "status": "UNDEFINED"}
    secret = (await client.post(f"{url}/v1/callback-secret", auth=auth)).json()["secret"]
    assert secret.startswith("whsec_")


async def test_two_gateways_share_the_work(
    nats_settings: NatsSettings, mongo_settings: MongoSettings, mongo_db: Any, redis_settings: RedisSettings
) -> None:
    settings = {
        "nats_url": nats_settings.nats_url,
        "mongo_url": mongo_settings.mongo_url,
        "mongo_database": mongo_settings.mongo_database,
        "redis_url": redis_settings.redis_url,
        "port": 0,
        "admin_token": ADMIN_TOKEN,
        "artifact_url_secret": "a-secret-of-the-tests",
    }
    nats = await connect(nats_settings, "test")
    endpoints = [endpoint_document(), endpoint_document("end_sync", endpoint_type=EndpointType.SYNC)]
    for document in endpoints:
        await mongo_db[ENDPOINTS].insert_one(document.model_dump(by_alias=True))
    async with httpx.AsyncClient(timeout=20) as client, running_gateways(2, settings) as (urls, stop):
        admin = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        key = (await client.post(f"{urls[0]}/v1/admin/api-keys", json={"owner": "ada"}, headers=admin)).json()["key"]
        auth = httpx.BasicAuth(key, "")
        ids = []
        for url in urls * 5:
            query = {"model_endpoint_id": "end_1"}
            answer = await client.post(f"{url}/v1/async-tasks", params=query, json={"args": {}}, auth=auth)
            ids.append(answer.json()["task_id"])
        for task_id in ids[1:]:
            await publish_result(nats.jetstream(), new_event(succeeded(task_id), source="test"))
        await publish_result(nats.jetstream(), new_event(failed(ids[0]), source="test"))

        async def all_done() -> bool:
            answers = [await client.get(f"{urls[1]}/v1/async-tasks/{task_id}", auth=auth) for task_id in ids]
            return [answer.json()["status"] for answer in answers] == ["FAILURE"] + ["SUCCESS"] * 9

        async def in_history() -> bool:
            found = await mongo_db["events"].find_one({"type": "modelengine.task.failed.v1", "owner": "ada"})
            return found is not None

        await eventually(all_done)
        await eventually(in_history)
        await manage_tasks(client, urls[1], auth, ids)
        woken: list[str] = []

        async def on_wake(message: Any) -> None:
            woken.append(message.subject)

        query = {"model_endpoint_id": "end_sync"}
        late = await client.post(f"{urls[0]}/v1/sync-tasks", params=query, json={"timeout_seconds": 0.1}, auth=auth)
        assert late.status_code == 408
        await nats.subscribe(wake_subject("end_sync"), cb=on_wake)
        await nats.flush()
        held = asyncio.create_task(client.post(f"{urls[0]}/v1/sync-tasks", params=query, json={}, auth=auth))
        await eventually(lambda: woken)
        stop.set()
        assert (await held).status_code == 503
    await nats.close()
