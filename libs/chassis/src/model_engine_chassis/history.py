"""The history of events: what happened in the installation, in order, readable from any position for seven days.

The relay (outbox.py) writes it through history_writer.py. No gap in positions is filled later: once position n is
visible, nothing appears below it, so a reader that remembers its last position misses nothing.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass
from typing import Any

from pymongo import ASCENDING, IndexModel

HISTORY = "events"
RETENTION_SECONDS = 7 * 86_400
PAGE = 200
BACKSTOP_SECONDS = 1.0

HISTORY_INDEXES = (
    IndexModel([("event_id", ASCENDING)], name="event_id", unique=True, sparse=True),
    IndexModel([("owner", ASCENDING), ("_id", ASCENDING)], name="owner"),
    IndexModel([("owner", ASCENDING), ("endpoint_id", ASCENDING), ("_id", ASCENDING)], name="owner_endpoint"),
    IndexModel([("stored_at", ASCENDING)], name="retention", expireAfterSeconds=RETENTION_SECONDS),
)


@dataclass(frozen=True, slots=True)
class HistoryRecord:
    """One event of the history; `text` is its CloudEvents JSON, with `position` and `sequence` in it."""

    position: int
    event_id: str
    type: str
    text: str


class History:
    """Reads the history of one database."""

    def __init__(self, database: Any) -> None:
        self._records = database[HISTORY]
        self._followers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._newest, self._newest_read_at = 0, float("-inf")

    async def read(
        self,
        owner: str,
        after: int,
        limit: int = PAGE,
        *,
        endpoint_id: str | None = None,
        types: Collection[str] | None = None,
    ) -> list[HistoryRecord]:
        """The owner's events after position `after`, oldest first, `limit` at most.

        `endpoint_id` keeps what is about that endpoint, its tasks included; `types` keeps these CloudEvents types.
        """
        query: dict[str, Any] = {"owner": owner, "_id": {"$gt": after}}
        if endpoint_id is not None:
            query["endpoint_id"] = endpoint_id
        if types is not None:
            query["type"] = {"$in": list(types)}
        cursor = self._records.find(query, {"event_id": 1, "type": 1, "text": 1}).sort("_id", ASCENDING).limit(limit)
        return [
            HistoryRecord(record["_id"], record["event_id"], record["type"], record["text"])
            for record in await cursor.to_list(length=limit)
        ]

    async def last_position(self) -> int:
        """The newest position of the installation, 0 in an empty history. Start here to follow what happens next."""
        newest = await self._records.find_one({}, {"_id": 1}, sort=[("_id", -1)])
        return int(newest["_id"]) if newest else 0

    async def owners_after(self, position: int) -> list[str]:
        """Whose events there are after a position."""
        owners = await self._records.distinct("owner", {"_id": {"$gt": position}})
        return [owner for owner in owners if owner is not None]

    def poke(self, owner: str) -> None:
        """Wake the followers of this owner: one of its events has just been published."""
        for wake in self._followers.get(owner, ()):
            wake.set()

    async def follow(
        self,
        owner: str,
        after: int,
        *,
        endpoint_id: str | None = None,
        types: Collection[str] | None = None,
    ) -> AsyncGenerator[HistoryRecord, None]:
        """The owner's events after position `after`, then each new one as it appears; never ends by itself.

        A poke brings a new event at once; without one it is found within about two seconds. Close the iterator
        (`contextlib.aclosing`) to stop. Raises pymongo.errors.PyMongoError when the database does not answer.
        """
        wake = asyncio.Event()
        self._followers[owner].add(wake)
        try:
            checked = -1
            while True:
                newest = await self._recent_position()
                page = await self.read(owner, after, PAGE, endpoint_id=endpoint_id, types=types)
                for record in page:
                    yield record
                if page:
                    after = page[-1].position
                    continue
                checked = max(checked, newest)
                await self._wait(wake, checked)
        finally:
            self._followers[owner].discard(wake)
            if not self._followers[owner]:
                del self._followers[owner]

    async def _wait(self, wake: asyncio.Event, checked: int) -> None:
        """Wait for a poke, or until the installation has a position beyond `checked`."""
        while not wake.is_set() and await self._recent_position() <= checked:
            try:
                async with asyncio.timeout(BACKSTOP_SECONDS):
                    await wake.wait()
            except TimeoutError:
                continue
        wake.clear()

    async def _recent_position(self) -> int:
        """The newest position, at most a second old: one query a second for all followers of the process."""
        if time.monotonic() - self._newest_read_at >= BACKSTOP_SECONDS:
            self._newest_read_at = time.monotonic()
            self._newest = max(self._newest, await self.last_position())
        return self._newest
