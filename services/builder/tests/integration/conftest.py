"""A platform of one builder or more: real NATS and MongoDB, an agent with simulated workers, documents by hand."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client as Nats

from model_engine_builder.app import Builder
from model_engine_builder.clock import now
from model_engine_builder.domain.rollout import Rollout, RolloutPhase
from model_engine_builder.repository import RolloutRepository
from model_engine_builder.settings import BuilderSettings
from model_engine_chassis.nats_connection import connect
from model_engine_chassis.publish import publish_event
from model_engine_chassis.settings_base import MongoSettings, NatsSettings
from model_engine_chassis.topology_ensure import ensure_topology
from model_engine_contracts.documents import (
    ENDPOINTS,
    BundleSnapshot,
    EndpointDocument,
    EndpointSpec,
    EndpointStatus,
    Resources,
    Scaling,
)
from model_engine_contracts.endpoint_states import EndpointType
from model_engine_contracts.events import (
    EndpointDeletionRequested,
    EndpointRequested,
    EndpointUpdated,
    Event,
    EventData,
    new_event,
    parse_event,
)
from model_engine_contracts.ids import new_id
from model_engine_contracts.topology import EVENTS
from model_engine_local.testing import eventually
from model_engine_runtime.agent.app import build as build_agent
from model_engine_runtime.agent.settings import AgentSettings
from model_engine_runtime.agent_client import AgentRuntime
from model_engine_runtime.errors import RuntimeUnavailable
from model_engine_runtime.protocol import SetState, Snapshot

SECRET = "a secret of some length"
CRASHING_BUILDER = Path(__file__).with_name("crashing_builder.py")


def spec_of(
    script: dict[str, Any] | None = None, requirements: tuple[str, ...] = (), kind: EndpointType = EndpointType.SYNC
) -> EndpointSpec:
    """A spec whose simulated workers follow `script` and whose simulated build follows `requirements`."""
    return EndpointSpec(
        endpoint_type=kind,
        bundle=BundleSnapshot(
            id="bun_1",
            name="digits",
            flavor="cloudpickle_artifact",
            flavor_json='{"flavor": "cloudpickle_artifact"}',
            requirements=requirements,
            artifact_id="art_1",
            artifact_sha256="a" * 64,
            python="3.11",
            app_config_json=json.dumps(script or {}),
        ),
        resources=Resources(cpus=1, memory_bytes=1 << 28, cpus_given=1, memory_given="256Mi"),
        scaling=Scaling(min_workers=1, max_workers=2, per_worker=1, concurrent_requests_per_worker=1),
    )


@dataclass
class Bench:
    """What a test of the builder needs. `facts` are those of the stream EVENTS, in order."""

    nats_settings: NatsSettings
    mongo_settings: MongoSettings
    database: Any
    nats: Nats
    folder: Path
    stops: list[tuple[asyncio.Event, asyncio.Task[None]]] = field(default_factory=list)
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def runtime(self) -> AgentRuntime:
        return AgentRuntime(self.nats)

    def settings(self, name: str, **changes: Any) -> BuilderSettings:
        return BuilderSettings(
            nats_url=self.nats_settings.nats_url,
            mongo_url=self.mongo_settings.mongo_url,
            mongo_database=self.mongo_settings.mongo_database,
            gateway_url="http://127.0.0.1:9",
            artifact_url_secret=SECRET,
            instance_id=name,
            **{"resync_seconds": 1.0, "lease_seconds": 2.0, **changes},
        )

    def start_agent(self) -> Callable[[], Any]:
        """Run the agent; the answer stops it."""
        settings = AgentSettings(
            nats_url=self.nats_settings.nats_url, agent_data_dir=self.folder / "agent", agent_backend="simulated"
        )
        return self._run(build_agent(settings).run)

    def start_builder(self, name: str = "builder-1", **changes: Any) -> Callable[[], Any]:
        """Run a builder in this process; the answer stops it."""
        return self._run(Builder(self.settings(name, **changes)).run)

    def _run(self, run: Callable[[asyncio.Event], Any]) -> Callable[[], Any]:
        stop = asyncio.Event()
        task = asyncio.create_task(run(stop))
        self.stops.append((stop, task))

        async def end() -> None:
            stop.set()
            await task

        return end

    async def start_builder_process(self, name: str, crash_at: str = "") -> asyncio.subprocess.Process:
        """Run a builder as a process of its own, which kills itself before it remembers `crash_at`."""
        settings = self.settings(name)
        env = {
            "PATH": os.environ["PATH"],
            "ME_NATS_URL": settings.nats_url,
            "ME_MONGO_URL": settings.mongo_url,
            "ME_MONGO_DATABASE": settings.mongo_database,
            "ME_GATEWAY_URL": settings.gateway_url,
            "ME_ARTIFACT_URL_SECRET": SECRET,
            "ME_INSTANCE_ID": name,
            "ME_RESYNC_SECONDS": "1",
            "ME_LEASE_SECONDS": "2",
            "CRASH_AT": crash_at,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(CRASHING_BUILDER), env=env, stderr=(self.folder / f"{name}.log").open("wb")
        )
        self.processes.append(process)
        return process

    async def create(self, spec: EndpointSpec, endpoint_id: str | None = None) -> str:
        """Write an endpoint's document and say so, as the gateway does."""
        document = EndpointDocument(
            id=endpoint_id or new_id("end"),
            name="digits",
            owner="ada",
            created_by="ada",
            created_at=now(),
            last_updated_at=now(),
            version=1,
            generation=1,
            spec=spec,
            status=EndpointStatus(since=now()),
        )
        await self.database[ENDPOINTS].insert_one(document.model_dump(by_alias=True))
        requested = EndpointRequested(
            endpoint_id=document.id,
            name="digits",
            generation=1,
            endpoint_type=spec.endpoint_type,
            bundle_id="bun_1",
            requested_by="ada",
        )
        await self.say(requested)
        return document.id

    async def update(self, endpoint_id: str, spec: EndpointSpec, generation: int) -> None:
        """Make `spec` the desired state of this generation."""
        fields = {"spec": spec.model_dump(), "generation": generation}
        await self.database[ENDPOINTS].update_one({"_id": endpoint_id}, {"$set": fields})
        await self.say(
            EndpointUpdated(
                endpoint_id=endpoint_id, name="digits", generation=generation, changed=("x",), requested_by="ada"
            )
        )

    async def delete(self, endpoint_id: str, generation: int) -> None:
        """Make "gone" the desired state."""
        fields = {"deletion_requested": True, "generation": generation}
        await self.database[ENDPOINTS].update_one({"_id": endpoint_id}, {"$set": fields})
        await self.say(
            EndpointDeletionRequested(endpoint_id=endpoint_id, name="digits", generation=generation, requested_by="ada")
        )

    async def say(self, data: EventData) -> None:
        await publish_event(self.nats.jetstream(), new_event(data, source="test", owner="ada"))

    async def facts(self, endpoint_id: str) -> list[Event[Any]]:
        """Every fact about an endpoint so far."""
        js = self.nats.jetstream()
        state = (await js.stream_info(EVENTS.name)).state
        found = []
        for sequence in range(max(1, state.first_seq), state.last_seq + 1):
            message = await js.get_msg(EVENTS.name, sequence)
            if message.subject is not None and message.subject.startswith("mesys."):
                event = parse_event(message.data or b"")
                if event.subject == endpoint_id:
                    found.append(event)
        return found

    async def said(self, endpoint_id: str) -> list[str]:
        """The facts about an endpoint so far, as `verb of aggregate: generation`."""
        facts = await self.facts(endpoint_id)
        return [f"{fact.data.AGGREGATE} {fact.data.VERB} {fact.data.generation}" for fact in facts]

    async def rollout(self, endpoint_id: str) -> Rollout | None:
        return await RolloutRepository(self.database).find(endpoint_id)

    async def until(self, endpoint_id: str, phase: RolloutPhase, generation: int = 1, timeout: float = 15) -> Rollout:
        """What is remembered once the generation is in this phase."""

        async def reached() -> Rollout | None:
            rollout = await self.rollout(endpoint_id)
            assert rollout is not None
            assert (rollout.phase, rollout.generation) == (phase, generation)
            return rollout

        rollout = await eventually(reached, timeout=timeout)
        assert rollout is not None
        return rollout

    async def snapshot(self) -> Snapshot:
        async with contextlib.aclosing(self.runtime.watch()) as watch:
            item = await anext(watch)
        assert isinstance(item, Snapshot)
        return item

    async def is_agent_there(self) -> bool:
        try:
            return bool(await self.snapshot())
        except RuntimeUnavailable:
            return False

    async def workers(self, endpoint_id: str) -> SetState | None:
        """What the runtime has of an endpoint now."""
        return next((state for state in (await self.snapshot()).sets if state.endpoint_id == endpoint_id), None)

    async def close(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()
            await process.wait()
        for stop, _ in self.stops:
            stop.set()
        await asyncio.gather(*(task for _, task in self.stops))
        await self.nats.close()


@pytest.fixture
async def bench(
    nats_settings: NatsSettings, mongo_settings: MongoSettings, mongo_db: Any, tmp_path: Path
) -> AsyncIterator[Bench]:
    """Servers and streams, and an agent that is running."""
    nats = await connect(nats_settings, "test")
    await ensure_topology(nats.jetstream())
    opened = Bench(nats_settings, mongo_settings, mongo_db, nats, tmp_path)
    opened.start_agent()
    await eventually(opened.is_agent_there)
    yield opened
    await opened.close()
