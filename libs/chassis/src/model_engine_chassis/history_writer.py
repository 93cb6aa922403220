"""Writing the history: each event once, at the next position, by one writer at a time.

Positions are dense: a writer inserts at n + 1 only after n exists. The newest writer begins by occupying the next
position with a record of its own. Position is the primary key, so from then on every insert of an older writer meets an
occupied position and is refused by the database itself, whatever the older writer believes about its lease. For the
same reason nothing can appear below a position that a reader has seen.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pymongo.errors import BulkWriteError, DuplicateKeyError

from model_engine_chassis.history import HISTORY, HISTORY_INDEXES
from model_engine_chassis.mongo import ensure_indexes
from model_engine_contracts.envelope import Event

HEAD = "events_head"
_HEAD_ID = "head"
_ATTEMPTS = 100
_DUPLICATE = 11000


class Superseded(Exception):
    """Another writer has taken over: stop writing."""


class HistoryWriter:
    """The writer of the history; make one with `take_over`."""

    def __init__(self, database: Any, next_position: int) -> None:
        self._records = database[HISTORY]
        self._head = database[HEAD]
        self._next = next_position

    @classmethod
    async def take_over(cls, database: Any, epoch: int) -> "HistoryWriter":
        """Become the writer and fence every older one. `epoch` (of the lease) is recorded for the operator.

        Raises Superseded when others take over all the time.
        """
        await ensure_indexes(database, {HISTORY: HISTORY_INDEXES})
        head = await database[HEAD].find_one({"_id": _HEAD_ID})
        floor = int(head["position"]) if head else 0
        for _ in range(_ATTEMPTS):
            newest = await database[HISTORY].find_one({}, {"_id": 1}, sort=[("_id", -1)])
            position = max(floor, int(newest["_id"]) if newest else 0) + 1
            try:
                await database[HISTORY].insert_one(
                    {"_id": position, "taken_over_by_epoch": epoch, "stored_at": datetime.now(UTC)}
                )
            except DuplicateKeyError:
                continue  # an insert of the older writer was still on its way
            return cls(database, position + 1)
        raise Superseded(f"no free position in {_ATTEMPTS} attempts")

    async def append(self, events: Sequence[Event[Any]]) -> list[Event[Any]]:
        """Store the events in this order and return them with their positions.

        An event that is stored already (a writer died after storing it) keeps the position it has. Raises Superseded.
        """
        positions: dict[str, int] = {}
        while missing := [event for event in events if event.id not in positions]:
            placed = [event.model_copy(update={"position": self._next + i}) for i, event in enumerate(missing)]
            try:
                await self._records.insert_many([_record(event) for event in placed], ordered=True)
            except BulkWriteError as error:
                inserted, must_look_up = _inspect(error)
                placed = placed[:inserted]
                if must_look_up:
                    positions |= await self._stored(missing)
            self._next += len(placed)
            positions |= {event.id: event.position for event in placed if event.position is not None}
        return [event.model_copy(update={"position": positions[event.id]}) for event in events]

    async def save_head(self) -> None:
        """Remember the newest position, so that positions never restart after all records reached their age."""
        await self._head.update_one({"_id": _HEAD_ID}, {"$max": {"position": self._next - 1}}, upsert=True)

    async def _stored(self, events: Sequence[Event[Any]]) -> dict[str, int]:
        cursor = self._records.find({"event_id": {"$in": [event.id for event in events]}}, {"event_id": 1})
        return {record["event_id"]: record["_id"] for record in await cursor.to_list(length=None)}


def _record(event: Event[Any]) -> dict[str, Any]:
    return {
        "_id": event.position,
        "event_id": event.id,
        "type": event.type,
        "owner": event.owner,
        "endpoint_id": getattr(event.data, "endpoint_id", None),
        "text": event.model_dump_json(exclude_none=True),
        "stored_at": datetime.now(UTC),
    }


def _inspect(error: BulkWriteError) -> tuple[int, bool]:
    """How many records went in before the refused one, and whether that one is an event that is stored already.

    Raises Superseded when its position was taken, and the error itself when it is of another kind.
    """
    details: Mapping[str, Any] = error.details or {}
    refused = details.get("writeErrors") or [{}]
    if refused[0].get("code") != _DUPLICATE:
        raise error
    if "_id" in refused[0].get("keyPattern", {}):
        raise Superseded("the next position is taken") from error
    return int(refused[0]["index"]), True
