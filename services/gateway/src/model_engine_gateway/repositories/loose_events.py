"""The collection `loose_events`: history events about what has no document of its own, such as a sync call.

Each is an outbox and nothing else; the relay removes it once it is in the history.
"""

from typing import Any

from model_engine_chassis.outbox import outbox_entry
from model_engine_contracts.events import Event

LOOSE_EVENTS = "loose_events"


class LooseEvents:
    """Stores events for the history."""

    def __init__(self, database: Any) -> None:
        self._events = database[LOOSE_EVENTS]

    async def add(self, event: Event[Any]) -> None:
        """Store one event."""
        await self._events.insert_one(
            {"_id": event.id, "version": 1, "tombstone": True, "outbox": [outbox_entry(event)]}
        )
