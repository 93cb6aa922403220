"""A relay that kills itself with SIGKILL (or freezes) at a named point: python crashing_relay.py URL DATABASE POINT.

What it publishes goes into the collection `published`.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from model_engine_chassis import outbox
from model_engine_chassis.history_writer import HistoryWriter, Superseded
from model_engine_chassis.leases import LeaseStore
from model_engine_chassis.mongo import connect_mongo
from model_engine_chassis.outbox import OutboxRelay
from model_engine_chassis.settings_base import MongoSettings
from model_engine_contracts.events import Event

SUPERSEDED = 42
_, URL, DATABASE, POINT = sys.argv
database = connect_mongo(MongoSettings(mongo_url=URL, mongo_database=DATABASE))


def reach(point: str) -> None:
    """Die here when this is the point."""
    if point == POINT:
        os.kill(os.getpid(), signal.SIGKILL)


class CrashingWriter(HistoryWriter):
    """Dies before, while or after it stores; or stays frozen before it stores."""

    async def append(self, events: Sequence[Event[Any]]) -> list[Event[Any]]:
        reach("before-store")
        if POINT == "middle-of-store":
            await super().append(events[:1])
            reach(POINT)
        if POINT == "frozen-before-store":
            os.kill(os.getpid(), signal.SIGSTOP)
        # Shielded: the frozen relay's insert goes on even if it learns of its lost lease at the same time.
        stored = await asyncio.shield(asyncio.create_task(self._store(events)))
        reach("before-publish")
        return stored

    async def _store(self, events: Sequence[Event[Any]]) -> list[Event[Any]]:
        try:
            return await super().append(events)
        except Superseded:
            os._exit(SUPERSEDED)


class CrashingRelay(OutboxRelay):
    """Dies before or while it pulls."""

    async def _pull(self, outboxes: Any, published: Any) -> None:
        reach("before-pull")
        await super()._pull(outboxes[:1], published[:1])
        reach("middle-of-pull")
        await super()._pull(outboxes, published)


async def publish(event: Event[Any]) -> None:
    """Remember the event; dies between the first and the second of a document."""
    if event.sequence == 2:
        reach("middle-of-publish")
    await database.published.insert_one({"event_id": event.id, "position": event.position})


outbox.HistoryWriter = CrashingWriter  # type: ignore[misc]  # the test's own writer in this process only
relay = CrashingRelay(database, publish, ["endpoints"], LeaseStore(database), "crashing", 0.5)
asyncio.run(relay.run(asyncio.Event()))
