"""Caches against real NATS, MongoDB and Valkey, and a runtime that says what the test wants."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from nats.aio.client import Client as Nats
from redis.asyncio import Redis

from model_engine_cache.app import Cache
from model_engine_cache.settings import CacheSettings
from model_engine_chassis.nats_connection import connect
from model_engine_chassis.redis_connection import connect_redis
from model_engine_chassis.settings_base import MongoSettings, NatsSettings, RedisSettings
from model_engine_chassis.topology_ensure import ensure_topology
from model_engine_contracts.events import EndpointObserved, Event, parse_event
from model_engine_contracts.observed import observed_key
from model_engine_contracts.topology import EVENTS
from model_engine_runtime.errors import RuntimeUnavailable
from model_engine_runtime.protocol import Change, Gone, Runtime, SetState, Snapshot


@dataclass
class ScriptedRuntime:
    """A runtime whose watch is written by the test. While it is `away` nobody can watch it."""

    sets: dict[str, SetState] = field(default_factory=dict)
    watchers: list[asyncio.Queue[Change | None]] = field(default_factory=list)
    away: bool = False

    async def watch(self) -> AsyncGenerator[Snapshot | Change, None]:
        if self.away:
            raise RuntimeUnavailable("the test took it away")
        changes: asyncio.Queue[Change | None] = asyncio.Queue()
        self.watchers.append(changes)
        try:
            yield Snapshot("installation", tuple(self.sets.values()))
            while (change := await changes.get()) is not None:
                yield change
            raise RuntimeUnavailable("the test took it away")
        finally:
            self.watchers.remove(changes)

    def put(self, state: SetState) -> None:
        """The workers of an endpoint have changed."""
        self.sets[state.endpoint_id] = state
        self._say(state)

    def remove(self, endpoint_id: str) -> None:
        """Nothing is left of an endpoint."""
        del self.sets[endpoint_id]
        self._say(Gone(endpoint_id))

    def take_away(self) -> None:
        """Stop answering; what changes meanwhile is in the next snapshot only."""
        self.away = True
        self._say(None)

    def _say(self, change: Change | None) -> None:
        for watcher in self.watchers:
            watcher.put_nowait(change)


@dataclass
class Bench:
    """What a test of the cache needs."""

    settings: CacheSettings
    nats: Nats
    redis: Redis
    runtime: ScriptedRuntime
    stops: list[tuple[asyncio.Event, asyncio.Task[None]]] = field(default_factory=list)

    def start(self, name: str = "cache-1") -> Callable[[], Any]:
        """Run a cache; the answer stops it."""
        settings = self.settings.model_copy(update={"instance_id": name})
        stop = asyncio.Event()
        task = asyncio.create_task(Cache(settings, lambda _settings, _nats: cast("Runtime", self.runtime)).run(stop))
        self.stops.append((stop, task))

        async def end() -> None:
            stop.set()
            await task

        return end

    async def observed(self, endpoint_id: str) -> EndpointObserved | None:
        """What Redis has of an endpoint."""
        value = await self.redis.get(observed_key(endpoint_id))
        return None if value is None else EndpointObserved.model_validate_json(value)

    async def facts(self, kind: str = "") -> list[Event[Any]]:
        """Every fact that was published, or those with this verb."""
        js = self.nats.jetstream()
        state = (await js.stream_info(EVENTS.name)).state
        messages = [
            await js.get_msg(EVENTS.name, sequence) for sequence in range(max(1, state.first_seq), state.last_seq + 1)
        ]
        events = [parse_event(message.data or b"") for message in messages]
        return [event for event in events if not kind or kind == event.data.VERB]

    async def close(self) -> None:
        for stop, _ in self.stops:
            stop.set()
        await asyncio.gather(*(task for _, task in self.stops))
        await self.nats.close()
        await self.redis.aclose()


@pytest.fixture
async def bench(
    nats_settings: NatsSettings, mongo_settings: MongoSettings, redis_settings: RedisSettings, mongo_db: Any
) -> AsyncIterator[Bench]:
    """Servers, streams, and no cache yet."""
    settings = CacheSettings(
        nats_url=nats_settings.nats_url,
        mongo_url=mongo_settings.mongo_url,
        mongo_database=mongo_settings.mongo_database,
        redis_url=redis_settings.redis_url,
        lease_seconds=1.0,
    )
    nats = await connect(nats_settings, "test")
    await ensure_topology(nats.jetstream())
    opened = Bench(settings, nats, connect_redis(redis_settings), ScriptedRuntime())
    yield opened
    await opened.close()
