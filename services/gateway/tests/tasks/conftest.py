"""Async tasks under test on real NATS and MongoDB."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from nats.js.errors import NotFoundError

from model_engine_chassis.leases import LeaseStore
from model_engine_chassis.mongo import ensure_indexes
from model_engine_chassis.nats_connection import connect
from model_engine_chassis.outbound import OutboundClient
from model_engine_chassis.settings_base import NatsSettings
from model_engine_chassis.topology_ensure import ensure_consumer, ensure_topology
from model_engine_contracts.documents import (
    ENDPOINTS,
    BundleSnapshot,
    EndpointDocument,
    EndpointSpec,
    EndpointStatus,
    Resources,
    Scaling,
)
from model_engine_contracts.endpoint_states import EndpointType, Phase
from model_engine_contracts.events import TaskSubmitted, parse_event
from model_engine_contracts.subjects import task_subject
from model_engine_contracts.topology import TASKS as TASK_STREAM
from model_engine_contracts.topology import task_consumer, task_durable
from model_engine_gateway.clock import now
from model_engine_gateway.errors import ApiError
from model_engine_gateway.hooks.after_calls import CallHooks
from model_engine_gateway.hooks.runner import HookRunner
from model_engine_gateway.hooks.secrets import CallbackSecrets
from model_engine_gateway.inference.service import Inference
from model_engine_gateway.inference.settings import InferenceSettings
from model_engine_gateway.principals import Principal
from model_engine_gateway.repositories.loose_events import LooseEvents
from model_engine_gateway.repositories.results import ResultRepository
from model_engine_gateway.result_addresses import ResultAddresses
from model_engine_gateway.tasks.repository import TASK_INDEXES, TASKS, TaskRepository
from model_engine_gateway.tasks.results import Results
from model_engine_gateway.tasks.service import AsyncTasks
from model_engine_gateway.tasks.settings import TaskSettings
from model_engine_gateway.tasks.sweep import Sweep
from model_engine_gateway.tasks.task import Task
from model_engine_gateway.tasks.task_queue import TaskQueue

END = "end_1"
DAY = timedelta(days=1)
ADDRESSES = ResultAddresses("http://gateway", "http://gateway", "a-secret-of-the-tests", DAY.total_seconds())


class Settings(InferenceSettings, TaskSettings):
    """Both halves."""


class KnownOwners:
    """Authenticates `Bearer <owner>`."""

    async def authenticate(self, authorization: bytes | None) -> Principal:
        if authorization is None:
            raise ApiError(401, "No authentication was passed in", "unauthenticated", {"www-authenticate": "Bearer"})
        owner = authorization.removeprefix(b"Bearer ").decode()
        return Principal(owner, owner, "key_1")


@dataclass
class Records:
    """The records that hooks emitted, by kind."""

    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def emit(self, kind: str, record: Mapping[str, Any]) -> None:
        self.seen.append((kind, dict(record)))


@dataclass
class Bench:
    """The parts of async tasks, each to be used alone as well."""

    nats: Any
    database: Any
    settings: Settings
    js: Any = field(init=False)
    tasks: TaskRepository = field(init=False)
    queue: TaskQueue = field(init=False)
    stored_results: ResultRepository = field(init=False)
    secrets: CallbackSecrets = field(init=False)
    records: Records = field(default_factory=Records)
    runner: HookRunner = field(init=False)
    sweep: Sweep = field(init=False)
    inference: Inference = field(init=False)
    service: AsyncTasks = field(init=False)
    client: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        self.js = self.nats.jetstream()
        self.tasks = TaskRepository(self.database, DAY)
        self.queue = TaskQueue(self.nats, ADDRESSES)
        self.stored_results = ResultRepository(self.database, DAY)
        self.sweep = Sweep(self.tasks, self.queue, 60, unknown_seconds=0)
        self.secrets = CallbackSecrets(self.database)
        self.runner = HookRunner(OutboundClient([ip_network("127.0.0.0/8")]), self.secrets, self.records)
        self.inference = Inference(
            self.settings,
            nats=self.nats,
            redis=None,
            principals=KnownOwners(),
            load_endpoint=self.load,
            hooks=CallHooks(self.runner, LooseEvents(self.database).add),
        )
        self.service = AsyncTasks(
            self.settings,
            nats=self.nats,
            database=self.database,
            inference=self.inference,
            store=LeaseStore(self.database),
            results=self.stored_results,
            addresses=ADDRESSES,
            runner=self.runner,
        )
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://gateway")

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        route = self.service.submit if scope["path"] == "/v1/async-tasks" else self.service.read
        await route(scope, receive, send)

    async def load(self, endpoint_id: str) -> EndpointDocument | None:
        found = await self.database[ENDPOINTS].find_one({"_id": endpoint_id})
        return EndpointDocument.model_validate(found) if found else None

    async def put_endpoint(self, endpoint_id: str = END, **changes: Any) -> None:
        document = endpoint_document(endpoint_id, **changes)
        await self.database[ENDPOINTS].replace_one(
            {"_id": endpoint_id}, document.model_dump(by_alias=True), upsert=True
        )
        self.inference.directory.invalidate(endpoint_id)

    async def post(self, body: Any = None, **options: Any) -> httpx.Response:
        options = {"params": {"model_endpoint_id": END}, "headers": {"authorization": "Bearer ada"}} | options
        return await self.client.post("/v1/async-tasks", json={"args": {"x": 1}} if body is None else body, **options)

    async def submit(self) -> str:
        answer = await self.post()
        assert answer.status_code == 200, answer.text
        task_id: str = answer.json()["task_id"]
        return task_id

    async def get(self, task_id: str, owner: str = "ada") -> dict[str, Any]:
        headers = {"authorization": f"Bearer {owner}"}
        answer = await self.client.get(f"/v1/async-tasks/{task_id}", headers=headers)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        assert body.pop("task_id") == task_id
        return body

    def caller(self, owner: str = "ada") -> Principal:
        """Who asks, where a part is called without its route."""
        return Principal(owner, owner, "key_1")

    async def insert(self, task_id: str = "t1", **changes: Any) -> Task:
        """Only the first step of a submission: the process died after it."""
        task = new_task(task_id, **changes)
        await self.tasks.insert([task])
        return task

    async def document(self, task_id: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.database[TASKS].find_one({"_id": task_id})
        return found

    async def queued(self, endpoint_id: str = END) -> list[TaskSubmitted]:
        """The messages of a queue, those at workers included."""
        state = (await self.js.stream_info(TASK_STREAM.name, subjects_filter=task_subject(endpoint_id))).state
        found: list[TaskSubmitted] = []
        sequence = 1
        while len(found) < (state.subjects or {}).get(task_subject(endpoint_id), 0):
            try:
                message = await self.js.get_msg(TASK_STREAM.name, sequence, task_subject(endpoint_id), next=True)
            except NotFoundError:  # it was taken away meanwhile
                break
            found.append(parse_event(message.data).data)
            sequence = message.seq + 1
        return found

    async def pull(self, count: int = 1, endpoint_id: str = END) -> list[Any]:
        """Take messages as a worker does."""
        await ensure_consumer(self.js, task_consumer(endpoint_id, 4, 1))
        subscription = await self.js.pull_subscribe_bind(task_durable(endpoint_id), stream=TASK_STREAM.name)
        messages: list[Any] = await subscription.fetch(count, timeout=5)
        return messages

    @asynccontextmanager
    async def results(self) -> AsyncIterator[None]:
        """The consumer of reports runs within the block."""
        stop = asyncio.Event()
        running = asyncio.create_task(Results(self.tasks).puller(self.nats, 1).run(stop))
        yield
        stop.set()
        await running


def endpoint_document(endpoint_id: str = END, **changes: Any) -> EndpointDocument:
    """An async endpoint of the owner `ada`; `changes` may name fields of document and spec."""
    moment = datetime.now(UTC)
    spec = {name: changes.pop(name) for name in list(changes) if name in EndpointSpec.model_fields}
    return EndpointDocument(
        _id=endpoint_id,
        name=endpoint_id,
        owner="ada",
        created_by="ada",
        created_at=moment,
        last_updated_at=moment,
        version=1,
        generation=1,
        spec=EndpointSpec(
            **{
                "endpoint_type": EndpointType.ASYNC,
                "bundle": BundleSnapshot(id="bun_1", name="b", flavor="cloudpickle_artifact", flavor_json="{}"),
                "resources": Resources(cpus=1, memory_bytes=1, cpus_given=1, memory_given=1),
                "scaling": Scaling(min_workers=0, max_workers=3, per_worker=1, concurrent_requests_per_worker=1),
                **spec,
            }
        ),
        status=EndpointStatus(phase=Phase.READY, serving_generation=1, since=moment),
        **changes,
    )


def new_task(task_id: str = "t1", **changes: Any) -> Task:
    """A task of `ada` that was submitted just now."""
    moment = now()
    fields: dict[str, Any] = {
        "endpoint_id": END,
        "attempt": 1,
        "sequence": None,
        "owner": "ada",
        "request": '{"args": 1}',
        "destination_path": None,
        "submitted_at": moment,
        "expires_at": moment + DAY,
        "timeout_seconds": 60.0,
    }
    return Task(id=task_id, **fields | changes)


@pytest.fixture
async def bench(nats_settings: NatsSettings, mongo_db: Any) -> AsyncIterator[Bench]:
    nats = await connect(nats_settings, "test")
    await ensure_topology(nats.jetstream())
    await ensure_indexes(mongo_db, {TASKS: TASK_INDEXES})
    bench = Bench(nats, mongo_db, Settings())
    await bench.put_endpoint()
    yield bench
    await bench.service.close()
    await bench.client.aclose()
    await nats.close()
