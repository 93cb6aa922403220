"""The collection `api_keys`. A key itself is never stored, only its SHA-256."""

from datetime import datetime, timedelta
from typing import Any

API_KEYS = "api_keys"

_OVERLAP = timedelta(seconds=60)
"""How far `revoked_since` looks behind the moment it is asked for, against reads that were under way and odd clocks."""


class ApiKeyRepository:
    """Reads and writes API keys: `{_id, hash, owner, user, created_at, revoked_at, version, outbox}`."""

    def __init__(self, database: Any) -> None:
        self._keys = database[API_KEYS]

    async def find_active(self, key_hash: str) -> dict[str, Any] | None:
        """The key with this hash, unless it was revoked."""
        found: dict[str, Any] | None = await self._keys.find_one({"hash": key_hash, "revoked_at": None}, {"outbox": 0})
        return found

    async def revoked_since(self, moment: datetime | None) -> list[tuple[str, datetime]]:
        """Ids and times of the keys revoked at `moment` or later (null: ever), a minute of overlap included."""
        since = {"$gte": moment - _OVERLAP} if moment else {"$ne": None}
        found = self._keys.find({"revoked_at": since}, {"revoked_at": 1})
        return [(str(key["_id"]), key["revoked_at"]) async for key in found]
