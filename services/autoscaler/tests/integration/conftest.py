"""Autoscalers against real NATS, MongoDB and Valkey, and an agent with simulated workers. The test is the gateway and
the builder; an observer does the cache's part.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client as Nats
from redis.asyncio import Redis

from model_engine_autoscaler.app import Autoscaler
from model_engine_autoscaler.settings import AutoscalerSettings
from model_engine_chassis.nats_connection import connect
from model_engine_chassis.publish import publish_event, publish_task
from model_engine_chassis.redis_connection import connect_redis
from model_engine_chassis.settings_base import MongoSettings, NatsSettings, RedisSettings
from model_engine_chassis.topology_ensure import ensure_topology
from model_engine_contracts.demand import WAKE_INTERVAL_SECONDS, WakeUp
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
from model_engine_contracts.events import (
    EndpointObserved,
    EndpointUpdated,
    ScalingDecided,
    TaskSubmitted,
    new_event,
    parse_event,
)
from model_engine_contracts.ids import new_id
from model_engine_contracts.observed import observed_key
from model_engine_contracts.subjects import wake_subject
from model_engine_contracts.topology import EVENTS
from model_engine_local.testing import eventually
from model_engine_runtime.agent.app import build as build_agent
from model_engine_runtime.agent.settings import AgentSettings
from model_engine_runtime.agent_client import AgentRuntime
from model_engine_runtime.errors import RuntimeUnavailable
from model_engine_runtime.following import follow
from model_engine_runtime.protocol import Change, Environment, PrepState, SetState, Snapshot, WorkerSet

INSTALLATION = "tests"
WINDOWS = {
    "tick_seconds": 0.1,
    "stable_window_seconds": 0.5,
    "panic_window_seconds": 0.2,
    "zero_grace_seconds": 0.2,
    "cooldown_seconds": 0.4,
    "lease_seconds": 1.0,
}


@dataclass
class Bench:
    """What a test of the autoscaler needs. `replicas` is the desired number of workers in the runtime, by endpoint."""

    nats_settings: NatsSettings
    mongo_settings: MongoSettings
    redis_settings: RedisSettings
    database: Any
    nats: Nats
    redis: Redis
    folder: Path
    replicas: dict[str, int] = field(default_factory=dict)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    observed: int = 0

    @property
    def runtime(self) -> AgentRuntime:
        return AgentRuntime(self.nats)

    def start_agent(self) -> None:
        """Run the agent, and pass on what it shows."""
        settings = AgentSettings(
            nats_url=self.nats_settings.nats_url, agent_data_dir=self.folder / "agent", agent_backend="simulated"
        )
        self._run(build_agent(settings).run)
        self.tasks.append(asyncio.create_task(self._observe()))

    def start(self) -> None:
        """Run an autoscaler in this process."""
        settings = AutoscalerSettings(
            nats_url=self.nats_settings.nats_url,
            mongo_url=self.mongo_settings.mongo_url,
            mongo_database=self.mongo_settings.mongo_database,
            redis_url=self.redis_settings.redis_url,
            instance_id="autoscaler",
            **WINDOWS,
        )
        self._run(Autoscaler(settings).run)

    async def start_process(self, name: str) -> None:
        """Run an autoscaler as a process of its own."""
        env = {
            "PATH": os.environ["PATH"],
            "ME_NATS_URL": self.nats_settings.nats_url,
            "ME_MONGO_URL": self.mongo_settings.mongo_url,
            "ME_MONGO_DATABASE": self.mongo_settings.mongo_database,
            "ME_REDIS_URL": self.redis_settings.redis_url,
            "ME_INSTANCE_ID": name,
            **{f"ME_{setting.upper()}": str(value) for setting, value in WINDOWS.items()},
        }
        self.processes[name] = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "model_engine_autoscaler"),
            env=env,
            stderr=(self.folder / f"{name}.log").open("wb"),
        )

    async def leader(self) -> tuple[str, int]:
        """Who leads, and under which epoch."""

        async def held() -> tuple[str, int] | None:
            lease = await self.database.leases.find_one({"_id": "autoscaler"})
            return (lease["holder"], lease["epoch"]) if lease else None

        return await eventually(held)  # type: ignore[return-value]  # it is truthy

    async def create(self, kind: EndpointType, workers: int = 0, **scaling: int) -> str:
        """An endpoint that is READY and has so many workers."""
        chosen = {"min_workers": 0, "max_workers": 4, "per_worker": 1, "concurrent_requests_per_worker": 1, **scaling}
        document = EndpointDocument(
            id=new_id("end"),
            name="digits",
            owner="ada",
            created_by="ada",
            created_at=datetime.now(UTC),
            last_updated_at=datetime.now(UTC),
            version=1,
            generation=1,
            spec=EndpointSpec(
                endpoint_type=kind,
                bundle=BundleSnapshot(
                    id="bun_1", name="digits", flavor="cloudpickle_artifact", flavor_json="{}", artifact_id="art_1"
                ),
                resources=Resources(cpus=1, memory_bytes=1 << 28, cpus_given=1, memory_given="256Mi"),
                scaling=Scaling(**chosen),
            ),
            status=EndpointStatus(phase=Phase.READY, serving_generation=1, since=datetime.now(UTC)),
        )
        await self.database[ENDPOINTS].insert_one(document.model_dump(by_alias=True))
        await self._apply(document.id, workers)
        await self._say_updated(document.id, 1)
        return document.id

    async def rescale(self, endpoint_id: str, max_workers: int) -> None:
        """Change the endpoint's bound, as the gateway does."""
        fields = {"spec.scaling.max_workers": max_workers, "generation": 2, "status.serving_generation": 2}
        await self.database[ENDPOINTS].update_one({"_id": endpoint_id}, {"$set": fields, "$inc": {"version": 1}})
        await self._say_updated(endpoint_id, 2)

    async def wake(self, endpoint_id: str) -> None:
        """A request is held for the endpoint."""
        report = WakeUp(gateway="gateway-1", endpoint_id=endpoint_id, waiting=1)
        await self.nats.publish(wake_subject(endpoint_id), report.model_dump_json().encode())

    async def wake_until(self, endpoint_id: str, replicas: int) -> None:
        """Go on waking as gateways do, until the runtime is to have so many workers."""

        async def reached() -> bool:
            await self.wake(endpoint_id)
            return self.replicas[endpoint_id] == replicas

        await eventually(reached, interval=WAKE_INTERVAL_SECONDS)

    async def submit(self, endpoint_id: str, count: int) -> None:
        """Queue tasks."""
        for _ in range(count):
            task = TaskSubmitted(
                task_id=new_id("task"),
                endpoint_id=endpoint_id,
                owner="ada",
                attempt=1,
                request="{}",
                submitted_at=datetime.now(UTC),
                expires_at=datetime.now(UTC) + timedelta(minutes=5),
                timeout_seconds=60,
            )
            await publish_task(self.nats.jetstream(), new_event(task, source="test"))

    async def until_replicas(self, endpoint_id: str, replicas: int) -> None:
        """Return once the runtime is to have so many workers."""
        await eventually(lambda: self.replicas.get(endpoint_id, -1) == replicas)

    async def decisions(self, endpoint_id: str) -> list[ScalingDecided]:
        """What was said of the endpoint's scaling so far."""
        js = self.nats.jetstream()
        state = (await js.stream_info(EVENTS.name)).state
        found = []
        for sequence in range(max(1, state.first_seq), state.last_seq + 1):
            data = parse_event((await js.get_msg(EVENTS.name, sequence)).data or b"").data
            if isinstance(data, ScalingDecided) and data.endpoint_id == endpoint_id:
                found.append(data)
        return found

    async def decided(self, endpoint_id: str, count: int) -> list[ScalingDecided]:
        """The decisions once there are so many."""

        async def enough() -> list[ScalingDecided]:
            decisions = await self.decisions(endpoint_id)
            assert len(decisions) >= count, decisions
            return decisions

        return await eventually(enough)

    async def close(self) -> None:
        for process in self.processes.values():
            if process.returncode is None:
                process.kill()
            await process.wait()
        self.stop.set()
        observer, *services = [self.tasks[1], self.tasks[0], *self.tasks[2:]]
        observer.cancel()
        await asyncio.gather(*services)
        await self.redis.aclose()
        await self.nats.close()

    def _run(self, run: Callable[[asyncio.Event], Any]) -> None:
        self.tasks.append(asyncio.create_task(run(self.stop)))

    async def _observe(self) -> None:
        items: asyncio.Queue[Snapshot | Change] = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follow(self.runtime, items.put_nowait, lambda trouble: None))
            while True:
                item = await items.get()
                sets = item.sets if isinstance(item, Snapshot) else (item,)
                for state in sets:
                    if isinstance(state, SetState):
                        await self._show(state)

    async def _show(self, state: SetState) -> None:
        self.observed += 1
        fact = EndpointObserved(
            endpoint_id=state.endpoint_id,
            epoch=1,
            counter=self.observed,
            generation=state.generation,
            replicas=state.replicas,
        )
        self.replicas[state.endpoint_id] = state.replicas
        await self.redis.set(observed_key(state.endpoint_id), fact.model_dump_json())
        await publish_event(self.nats.jetstream(), new_event(fact, source="test"))

    async def _apply(self, endpoint_id: str, workers: int) -> None:
        async def prepared() -> str | None:
            try:
                preparation = await self.runtime.prepare(Environment(python="3.11"))
            except RuntimeUnavailable:
                return None
            return preparation.key if preparation.state is PrepState.READY else None

        key = await eventually(prepared)
        assert key is not None
        want = WorkerSet(
            installation=INSTALLATION,
            endpoint_id=endpoint_id,
            generation=1,
            revision="1",
            environment_key=key,
            command=("model",),
            env={},
            cpus=1,
            memory_bytes=1 << 20,
            forwarder_config={},
            initial_replicas=workers,
        )
        await self.runtime.apply(want)
        await self.until_replicas(endpoint_id, workers)

    async def _say_updated(self, endpoint_id: str, generation: int) -> None:
        updated = EndpointUpdated(
            endpoint_id=endpoint_id, name="digits", generation=generation, changed=("x",), requested_by="ada"
        )
        await publish_event(self.nats.jetstream(), new_event(updated, source="test", owner="ada"))


@pytest.fixture
async def bench(
    nats_settings: NatsSettings,
    mongo_settings: MongoSettings,
    redis_settings: RedisSettings,
    mongo_db: Any,
    tmp_path: Path,
) -> AsyncIterator[Bench]:
    """Servers, streams, and an agent that is running and seen."""
    nats = await connect(nats_settings, "test")
    await ensure_topology(nats.jetstream())
    redis = connect_redis(redis_settings)
    opened = Bench(nats_settings, mongo_settings, redis_settings, mongo_db, nats, redis, tmp_path)
    opened.start_agent()
    yield opened
    await opened.close()
