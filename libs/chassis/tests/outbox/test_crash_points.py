"""A relay that dies at any named point loses nothing, stores nothing twice and keeps the order."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from model_engine_chassis.history import History
from model_engine_chassis.outbox import compare_and_set
from model_engine_contracts.events import Event, parse_event
from model_engine_local.testing import eventually

SUPERSEDED = 42
DOCUMENTS = ("end_a", "end_b")


async def start_crashing_relay(database: Any, url: str, point: str) -> asyncio.subprocess.Process:
    script = Path(__file__).with_name("crashing_relay.py")
    return await asyncio.create_subprocess_exec(sys.executable, script, url, database.name, point)


async def every_outbox_is_empty(database: Any) -> bool:
    return await database.endpoints.count_documents({"outbox": []}) == len(DOCUMENTS)


async def check_history(database: Any, written: list[Event[Any]], published_ids: list[str]) -> None:
    """Each event is in the history once, was published, and is where its document had it."""
    stored = [parse_event(record.text) for record in await History(database).read("ada", 0)]
    assert sorted(event.id for event in stored) == sorted(event.id for event in written)
    assert set(published_ids) == {event.id for event in written}
    for document in DOCUMENTS:
        mine = [event for event in stored if event.subject == document]
        assert [event.id for event in mine] == [event.id for event in written if event.subject == document]
        assert [event.sequence for event in mine] == list(range(1, len(mine) + 1))


@pytest.mark.parametrize(
    "point",
    [
        "before-store",  # after the document's write
        "middle-of-store",
        "before-publish",
        "middle-of-publish",
        "before-pull",
        "middle-of-pull",
    ],
)
async def test_a_relay_killed_at_a_named_point(
    point: str, mongo_db: Any, mongo_url: str, insert: Any, updated: Any, relaying: Any
) -> None:
    written = [updated(document, generation) for document in DOCUMENTS for generation in (1, 2)]
    for document in DOCUMENTS:
        await insert(document, *(event for event in written if event.subject == document))
    crashing = await start_crashing_relay(mongo_db, mongo_url, point)
    assert await asyncio.wait_for(crashing.wait(), 20) == -signal.SIGKILL
    stored_before = {record.event_id: record.position for record in await History(mongo_db).read("ada", 0)}
    published = [record["event_id"] async for record in mongo_db.published.find()]

    async def publish(event: Event[Any]) -> None:
        published.append(event.id)

    async with relaying(publish):
        late = updated("end_a", 3)
        assert await compare_and_set(mongo_db.endpoints, "end_a", 1, {}, [late])
        await eventually(lambda: every_outbox_is_empty(mongo_db))
    await check_history(mongo_db, [*written, late], published)
    stored_after = {record.event_id: record.position for record in await History(mongo_db).read("ada", 0)}
    assert stored_before.items() <= stored_after.items(), "what was visible keeps its position"


async def test_a_relay_that_was_frozen_cannot_store_after_another_took_over(
    mongo_db: Any, mongo_url: str, insert: Any, updated: Any, relaying: Any
) -> None:
    written = [updated(document) for document in DOCUMENTS]
    for event in written:
        await insert(event.subject, event)
    frozen = await start_crashing_relay(mongo_db, mongo_url, "frozen-before-store")
    process = psutil.Process(frozen.pid)
    await eventually(lambda: process.status() == psutil.STATUS_STOPPED, timeout=20)
    published: list[str] = []

    async def publish(event: Event[Any]) -> None:
        published.append(event.id)

    async with relaying(publish):
        await eventually(lambda: every_outbox_is_empty(mongo_db))
        frozen.send_signal(signal.SIGCONT)
        assert await asyncio.wait_for(frozen.wait(), 20) == SUPERSEDED
    assert await mongo_db.published.count_documents({}) == 0, "the frozen relay published nothing"
    await check_history(mongo_db, written, published)
