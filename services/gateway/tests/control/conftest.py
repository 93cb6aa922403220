"""A whole gateway on real NATS, MongoDB and Valkey, and clients of it."""

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from nats.aio.client import Client as Nats

from model_engine_chassis.mongo import connect_mongo
from model_engine_chassis.nats_connection import connect, disconnect
from model_engine_chassis.publish import publish_event
from model_engine_chassis.settings_base import MongoSettings
from model_engine_contracts.envelope import EventData
from model_engine_contracts.events import new_event
from model_engine_gateway.app import Gateway, build
from model_engine_gateway.settings import GatewaySettings

ADMIN_TOKEN = "the-administrators-token"
ARTIFACT_SECRET = "the-secret-of-artifact-addresses"


@dataclass(slots=True)
class Platform:
    """A running gateway: how to reach it, and what stands behind it."""

    gateway: Gateway
    database: Any
    nats: Nats

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway.port}"

    def client(self, key: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, auth=(key, ""), timeout=20)

    async def new_key(self, owner: str, **fields: Any) -> str:
        async with httpx.AsyncClient(base_url=self.url) as client:
            answer = await client.post(
                "/v1/admin/api-keys",
                json={"owner": owner, **fields},
                headers={"authorization": f"Bearer {ADMIN_TOKEN}"},
            )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["key"])

    async def say(self, fact: EventData, event_id: str | None = None) -> None:
        """Publish a fact as another service would."""
        await publish_event(self.nats.jetstream(), new_event(fact, source="test", event_id=event_id))


@pytest.fixture
def make_settings(nats_url: str, valkey_url: str, mongo_settings: MongoSettings) -> Callable[..., GatewaySettings]:
    def make(**overrides: Any) -> GatewaySettings:
        defaults = {
            "nats_url": nats_url,
            "redis_url": valkey_url,
            "mongo_url": mongo_settings.mongo_url,
            "mongo_database": mongo_settings.mongo_database,
            "port": 0,
            "admin_token": ADMIN_TOKEN,
            "artifact_url_secret": ARTIFACT_SECRET,
            "drain_seconds": 2,
        }
        return GatewaySettings(**{**defaults, **overrides})

    return make


@pytest.fixture
async def start(make_settings: Callable[..., GatewaySettings]) -> AsyncIterator[Callable[..., Awaitable[Platform]]]:
    """Starts gateways; all are stopped, and their database dropped, after the test."""
    stop = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []
    platforms: list[Platform] = []

    async def start_one(**overrides: Any) -> Platform:
        settings = make_settings(instance_id=f"gateway-{len(tasks)}", **overrides)
        gateway = build(settings)
        tasks.append(asyncio.create_task(gateway.run(stop)))
        started = asyncio.create_task(gateway.started.wait())
        await asyncio.wait({started, tasks[-1]}, return_when=asyncio.FIRST_COMPLETED)
        if tasks[-1].done():
            tasks[-1].result()
        platforms.append(Platform(gateway, connect_mongo(settings), await connect(settings, "test")))
        return platforms[-1]

    yield start_one
    stop.set()
    _, hanging = await asyncio.wait(tasks, timeout=20)
    for task in asyncio.all_tasks() if hanging else ():
        task.print_stack()
    assert not hanging, "a gateway does not stop"
    await asyncio.gather(*tasks)
    for platform in platforms:
        await disconnect(platform.nats)
    if platforms:
        await platforms[0].database.client.drop_database(platforms[0].database.name)
    for platform in platforms:
        platform.database.client.close()


@pytest.fixture
async def platform(start: Callable[..., Awaitable[Platform]]) -> Platform:
    return await start()


BUNDLE = {
    "name": "digits",
    "schema_location": "none",
    "metadata": {"by": "test"},
    "flavor": {
        "flavor": "cloudpickle_artifact",
        "requirements": ["numpy"],
        "framework": {"framework_type": "pytorch", "pytorch_image_tag": "2"},
        "location": "s3://bucket/key",
        "load_predict_fn": "predict",
        "load_model_fn": "model",
    },
}

ENDPOINT = {
    "name": "digits",
    "endpoint_type": "sync",
    "metadata": {},
    "cpus": "1",
    "memory": "1Gi",
    "storage": "1Gi",
    "gpus": 0,
    "min_workers": 1,
    "max_workers": 1,
    "per_worker": 1,
    "labels": {"team": "t", "product": "p"},
}


@pytest.fixture
def bundle_body() -> dict[str, Any]:
    """A version 2 bundle."""
    return copy.deepcopy(BUNDLE)


@pytest.fixture
def endpoint_body() -> dict[str, Any]:
    """A new endpoint, but for its bundle."""
    return copy.deepcopy(ENDPOINT)


@pytest.fixture
async def bundle_id(client: httpx.AsyncClient, bundle_body: dict[str, Any]) -> str:
    """A bundle of `ada`."""
    answer = await client.post("/v2/model-bundles", json=bundle_body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["model_bundle_id"])


@pytest.fixture
async def endpoint_id(client: httpx.AsyncClient, bundle_id: str, endpoint_body: dict[str, Any]) -> str:
    """An endpoint of `ada` that nobody has built yet."""
    answer = await client.post("/v1/model-endpoints", json={**endpoint_body, "model_bundle_id": bundle_id})
    assert answer.status_code == 200, answer.text
    listed = await client.get("/v1/model-endpoints", params={"name": "digits"})
    return str(listed.json()["model_endpoints"][0]["id"])


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key of the owner `ada`."""
    async with platform.client(await platform.new_key("ada")) as client:
        yield client


@pytest.fixture
async def stranger(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key of another owner."""
    async with platform.client(await platform.new_key("eve")) as client:
        yield client
