"""The collection `api_keys`. A key itself is never stored, only its SHA-256."""

from datetime import datetime, timedelta
from typing import Any

from pymongo import ASCENDING, IndexModel

from model_engine_chassis.outbox import change, outbox_entry
from model_engine_contracts.events import ApiKeyCreated, ApiKeyRevoked, Event

API_KEYS = "api_keys"

API_KEY_INDEXES = (
    IndexModel([("hash", ASCENDING)], name="hash", unique=True),
    IndexModel([("revoked_at", ASCENDING)], name="revoked_at"),
)

_OVERLAP = timedelta(seconds=60)
"""How far `revoked_since` looks behind the moment it is asked for, because of reads that were under way."""


class ApiKeyRepository:
    """Reads and writes API keys: `{_id, hash, owner, user, created_at, revoked_at, version, outbox}`."""

    def __init__(self, database: Any) -> None:
        self._keys = database[API_KEYS]

    async def insert(
        self, *, key_id: str, key_hash: str, owner: str, user: str, created_at: datetime, event: Event[ApiKeyCreated]
    ) -> None:
        """Store a new key."""
        await self._keys.insert_one(
            {
                "_id": key_id,
                "hash": key_hash,
                "owner": owner,
                "user": user,
                "created_at": created_at,
                "revoked_at": None,
                "version": 1,
                "outbox": [outbox_entry(event)],
            }
        )

    async def find(self, key_id: str) -> dict[str, Any] | None:
        """A key by its id."""
        found: dict[str, Any] | None = await self._keys.find_one({"_id": key_id}, {"outbox": 0, "hash": 0})
        return found

    async def find_active(self, key_hash: str) -> dict[str, Any] | None:
        """The key with this hash, unless it was revoked."""
        found: dict[str, Any] | None = await self._keys.find_one({"hash": key_hash, "revoked_at": None}, {"outbox": 0})
        return found

    async def all(self) -> list[dict[str, Any]]:
        """Every key, oldest first."""
        cursor = self._keys.find({}, {"outbox": 0, "hash": 0}).sort("_id", ASCENDING)
        return [key async for key in cursor]

    async def revoke(self, key_id: str, event: Event[ApiKeyRevoked]) -> bool:
        """Revoke a key; False where it was revoked before. The time is the database's, one clock for all gateways."""
        update = {**change({}, [event]), "$currentDate": {"revoked_at": True}}
        result = await self._keys.update_one({"_id": key_id, "revoked_at": None}, update)
        return bool(result.modified_count)

    async def revoked_since(self, moment: datetime | None) -> list[tuple[str, datetime]]:
        """Ids and times of the keys revoked at `moment` or later (null: ever), a minute of overlap included."""
        since = {"$gte": moment - _OVERLAP} if moment else {"$ne": None}
        found = self._keys.find({"revoked_at": since}, {"revoked_at": 1})
        return [(str(key["_id"]), key["revoked_at"]) async for key in found]
