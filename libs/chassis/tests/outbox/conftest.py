"""Documents with an outbox, and a relay that runs during a test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from model_engine_chassis import outbox
from model_engine_chassis.leases import LeaseStore
from model_engine_chassis.outbox import OutboxRelay, outbox_entry
from model_engine_contracts.events import EndpointUpdated, Event, new_event

OWNER = "ada"
Publish = Callable[[Event[Any]], Awaitable[object]]


@pytest.fixture
def updated() -> Callable[..., Event[Any]]:
    """Makes one history event about an endpoint."""

    def make(endpoint_id: str, generation: int = 1, owner: str = OWNER) -> Event[Any]:
        data = EndpointUpdated(
            endpoint_id=endpoint_id, name="digits", generation=generation, changed=(), requested_by="u"
        )
        return new_event(data, source="test", owner=owner)

    return make


@pytest.fixture
def insert(mongo_db: Any) -> Callable[..., Awaitable[None]]:
    """Inserts a document with these events in its outbox, as a service does when it creates something."""

    async def do(document_id: str, *events: Event[Any], collection: str = "endpoints", **fields: Any) -> None:
        entries = [outbox_entry(event) for event in events]
        await mongo_db[collection].insert_one({"_id": document_id, "version": 1, "outbox": entries, **fields})

    return do


@pytest.fixture
def relaying(mongo_db: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A context in which a relay passes on the events of `endpoints` and `bundles`."""
    monkeypatch.setattr(outbox, "SWEEP_SECONDS", 0.2)

    @asynccontextmanager
    async def run(
        publish: Publish, relay_class: type[OutboxRelay] = OutboxRelay, database: Any = mongo_db
    ) -> AsyncIterator[OutboxRelay]:
        stop = asyncio.Event()
        relay = relay_class(database, publish, ["endpoints", "bundles"], LeaseStore(database), "relay")
        running = asyncio.create_task(relay.run(stop))
        try:
            yield relay
        finally:
            stop.set()
            await running

    return run


@pytest.fixture
def published() -> list[Event[Any]]:
    """What `record` received."""
    return []


@pytest.fixture
def record(published: list[Event[Any]]) -> Publish:
    """A publish function that remembers."""

    async def publish(event: Event[Any]) -> None:
        published.append(event)

    return publish
