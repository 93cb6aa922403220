"""An endpoint's queue on a real NATS server, and workers of it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import nats.errors
import pytest
from nats.js import JetStreamContext
from prometheus_client import CollectorRegistry

from model_engine_chassis.nats_connection import connect
from model_engine_chassis.publish import publish_task
from model_engine_chassis.topology_ensure import ensure_consumer, ensure_topology
from model_engine_contracts.events import EventData, TaskCompleted, TaskSubmitted, new_event, parse_event
from model_engine_contracts.subjects import result_subject
from model_engine_contracts.topology import TASKS, task_consumer, task_durable
from model_engine_forwarder.app import Forwarder, build
from model_engine_forwarder.config import Config
from model_engine_local.testing import eventually

ENDPOINT = "end_0123456789"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass
class Queue:
    """The endpoint's queue and what its workers report."""

    js: JetStreamContext
    url: str
    reports: list[EventData] = field(default_factory=list)
    endpoint_id: str = ENDPOINT
    traceparent: str = TRACEPARENT
    ids: int = 0

    async def put(
        self,
        args: Any = None,
        *,
        request: str | None = None,
        expires: float = 60,
        timeout: float = 10,
        upload_url: str | None = None,
    ) -> str:
        self.ids += 1
        now = datetime.now(UTC)
        task = TaskSubmitted(
            task_id=f"task-{self.ids}",
            endpoint_id=ENDPOINT,
            owner="owner",
            attempt=1,
            request=json.dumps({"args": {} if args is None else args}) if request is None else request,
            submitted_at=now,
            expires_at=now + timedelta(seconds=expires),
            timeout_seconds=timeout,
            upload_url=upload_url,
        )
        await publish_task(self.js, new_event(task, source="gateway", owner="owner", traceparent=TRACEPARENT))
        return task.task_id

    async def completed(self, count: int = 1) -> list[TaskCompleted]:
        await eventually(lambda: len(self.of(TaskCompleted)) >= count)
        return self.of(TaskCompleted)

    def of(self, kind: type) -> list:
        return [report for report in self.reports if isinstance(report, kind)]

    async def left(self) -> int:
        return (await self.js.stream_info(TASKS.name)).state.messages

    async def emptied(self) -> None:
        async def is_empty() -> bool:
            with contextlib.suppress(nats.errors.Error):  # the server may be away
                return await self.left() == 0
            return False

        await eventually(is_empty, 20)

    def config(self, port: int, concurrency: int = 4, **block: Any) -> dict[str, Any]:
        """The configuration of a worker of this queue; `block` changes its async block."""
        place = {"user_port": port, "user_hostname": "127.0.0.1", "forward_http_status_in_body": True, **block}
        worker_queue = {"stream": TASKS.name, "durable": task_durable(ENDPOINT), "concurrency": concurrency}
        worker = {"endpoint_id": ENDPOINT, "worker_id": "w1", "owner": "owner", "queue": worker_queue}
        return {"async": place, "worker": worker, "drain_delay_seconds": 0.0}


@pytest.fixture
async def queue(nats_settings) -> AsyncIterator[Queue]:
    client = await connect(nats_settings, "test")
    js = client.jetstream(timeout=1)
    await ensure_topology(js)
    await ensure_consumer(js, replace(task_consumer(ENDPOINT, 4, 1), ack_wait=1.0))
    queue = Queue(js, nats_settings.nats_url)

    async def note(message) -> None:
        queue.reports.append(parse_event(message.data).data)

    await client.subscribe(result_subject(ENDPOINT), cb=note)
    yield queue
    await client.close()


@pytest.fixture
def work(queue, model, monkeypatch) -> Any:
    """Start a worker; `async with work(...) as (forwarder, stop)` stops and drains it at the end of the block."""
    monkeypatch.setenv("ME_NATS_URL", queue.url)

    @contextlib.asynccontextmanager
    async def start(graceful: float = 5.0, **options: Any) -> AsyncIterator[tuple[Forwarder, asyncio.Event]]:
        forwarder = build(Config.model_validate(queue.config(model.port, **options)), CollectorRegistry())
        assert forwarder.run_tasks is not None
        stop = asyncio.Event()
        following = asyncio.create_task(forwarder.readiness.follow())
        running = asyncio.create_task(forwarder.run_tasks(stop, graceful))
        try:
            yield forwarder, stop
        finally:
            stop.set()
            await running
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            forwarder.pool.close()

    return start
