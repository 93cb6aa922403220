"""A data plane under test: the real routes on a real port, and workers that do what a test says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from nats.aio.client import Client as Nats

from model_engine_chassis.asgi_server import Receive, Scope, Send, listen, serve_asgi
from model_engine_contracts.documents import (
    BundleSnapshot,
    EndpointDocument,
    EndpointSpec,
    EndpointStatus,
    Resources,
    Scaling,
)
from model_engine_contracts.endpoint_states import EndpointType, Phase
from model_engine_contracts.events import EndpointObserved, ObservedWorker
from model_engine_gateway.errors import ApiError
from model_engine_gateway.hooks.plan import PlannedHooks
from model_engine_gateway.inference.service import Inference
from model_engine_gateway.inference.settings import InferenceSettings
from model_engine_gateway.principals import Principal

END = "end_1"


def endpoint_document(**changes: Any) -> EndpointDocument:
    """A ready sync endpoint of the owner `ada`; `changes` may name fields of document, spec, scaling and status."""
    now = datetime.now(UTC)
    scaling = {"min_workers": 0, "max_workers": 3, "per_worker": 1, "concurrent_requests_per_worker": 1}
    status: dict[str, Any] = {"phase": Phase.READY, "serving_generation": 1, "since": now}
    spec: dict[str, Any] = {
        "endpoint_type": EndpointType.SYNC,
        "bundle": BundleSnapshot(id="bun_1", name="b", flavor="cloudpickle_artifact", flavor_json="{}"),
        "resources": Resources(cpus=1, memory_bytes=1, cpus_given=1, memory_given=1),
    }
    document: dict[str, Any] = {
        "_id": changes.pop("id", END),
        "name": "digits",
        "owner": "ada",
        "created_by": "ada",
        "created_at": now,
        "last_updated_at": now,
        "version": 1,
        "generation": 1,
    }
    for name, value in changes.items():
        for part, model in ((scaling, Scaling), (status, EndpointStatus), (spec, EndpointSpec)):
            if name in model.model_fields:
                part[name] = value
                break
        else:
            document[name] = value
    spec["scaling"] = Scaling(**scaling)
    return EndpointDocument(**document, spec=EndpointSpec(**spec), status=EndpointStatus(**status))


@dataclass
class Exchange:
    """One request at a worker: what came, and how to answer."""

    path: str
    query: bytes
    headers: dict[str, str]
    body: bytes
    send: Send
    receive: Receive

    async def answer(self, body: bytes, status: int = 200, content_type: str = "application/json") -> None:
        await self.start(status, content_type)
        await self.piece(body, last=True)

    async def start(self, status: int = 200, content_type: str = "text/event-stream") -> None:
        headers = [(b"content-type", content_type.encode())]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def piece(self, body: bytes, last: bool = False) -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": not last})

    async def gone(self) -> None:
        """Wait until the caller has closed the connection."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


Script = Callable[[Exchange], Awaitable[None]]


@dataclass
class Worker:
    """A worker's HTTP server. `calls` holds the requests that came."""

    script: Script
    name: str
    port: int = 0
    calls: list[Exchange] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        body += message.get("body", b"")
        call = Exchange(scope["path"], scope["query_string"], headers, body, send, receive)
        self.calls.append(call)
        await self.script(call)


class KnownOwners:
    """Authenticates `Bearer <owner>`."""

    async def authenticate(self, authorization: bytes | None) -> Principal:
        if authorization is None:
            raise ApiError(401, "No authentication was passed in", "unauthenticated", {"www-authenticate": "Bearer"})
        owner = authorization.removeprefix(b"Bearer ").decode()
        return Principal(owner, owner, "key_1")


@dataclass
class AnsweredCalls:
    """What hooks were asked to do after calls."""

    seen: list[tuple[PlannedHooks, bytes]] = field(default_factory=list)

    def after(self, hooks: PlannedHooks, answer: bytes) -> None:
        self.seen.append((hooks, answer))


@dataclass
class Platform:
    """The data plane, its endpoints and its workers."""

    inference: Inference
    documents: dict[str, EndpointDocument]
    client: httpx.AsyncClient
    tasks: asyncio.TaskGroup
    hooks: AnsweredCalls
    workers: list[Worker] = field(default_factory=list)
    counter: int = 0

    async def add_worker(self, script: Script, endpoint_id: str = END) -> Worker:
        worker = Worker(script, f"w{len(self.workers)}")
        listener = listen("127.0.0.1", 0)
        worker.port = listener.getsockname()[1]
        self.tasks.create_task(serve_asgi(worker.app, listener, worker.stop, drain_seconds=1))
        self.workers.append(worker)
        self.observe(*self.workers, endpoint_id=endpoint_id)
        return worker

    def observe(self, *workers: Worker, endpoint_id: str = END) -> None:
        """The cache has seen exactly these workers."""
        self.counter += 1
        self.inference.routes.observe(
            EndpointObserved(
                endpoint_id=endpoint_id,
                epoch=1,
                counter=self.counter,
                generation=1,
                replicas=len(workers),
                workers=tuple(
                    ObservedWorker(id=worker.name, revision="r", state="READY", address=f"127.0.0.1:{worker.port}")
                    for worker in workers
                ),
            )
        )

    def add_endpoint(self, **changes: Any) -> None:
        document = endpoint_document(**changes)
        self.documents[document.id] = document
        self.inference.directory.invalidate(document.id)

    async def call(self, route: str = "sync", body: Any = None, **options: Any) -> httpx.Response:
        path = f"/v1/{route}-tasks"
        options = {"params": {"model_endpoint_id": END}, "headers": {"authorization": "Bearer ada"}} | options
        return await self.client.post(path, json={"args": {"x": 1}} if body is None else body, **options)


StartPlatform = Callable[..., Awaitable[Platform]]


@pytest.fixture
async def start_platform() -> AsyncIterator[StartPlatform]:
    """Make a data plane with one endpoint and no worker. It has no NATS: what a worker does is told by the test."""
    async with contextlib.AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        stop = asyncio.Event()

        async def start(**settings: Any) -> Platform:
            documents = {END: endpoint_document()}

            async def load(endpoint_id: str) -> EndpointDocument | None:
                return documents.get(endpoint_id)

            hooks = AnsweredCalls()
            inference = Inference(
                InferenceSettings(**settings),
                nats=Nats(),
                redis=None,
                principals=KnownOwners(),
                load_endpoint=load,
                hooks=hooks,
            )

            async def app(scope: Scope, receive: Receive, send: Send) -> None:
                routes = {"/v1/sync-tasks": inference.sync_tasks, "/v1/streaming-tasks": inference.streaming_tasks}
                await routes[scope["path"]](scope, receive, send)

            listener = listen("127.0.0.1", 0)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            tasks.create_task(serve_asgi(app, listener, stop, drain_seconds=1))
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=20))
            platform = Platform(inference, documents, client, tasks, hooks)
            stack.callback(lambda: [worker.stop.set() for worker in platform.workers])
            stack.callback(stop.set)
            return platform

        yield start


@pytest.fixture
async def platform(start_platform: StartPlatform) -> Platform:
    """A data plane with default bounds."""
    return await start_platform()
