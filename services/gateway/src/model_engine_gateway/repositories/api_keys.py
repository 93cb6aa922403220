"""The collection `api_keys`. A key itself is never stored, only its SHA-256."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pymongo import ASCENDING, IndexModel

from model_engine_chassis.outbox import change, outbox_entry
from model_engine_contracts.api.api_keys import AccessScope
from model_engine_contracts.events import ApiKeyCreated, ApiKeyRevoked, ApiKeyRotated, Event

API_KEYS = "api_keys"

API_KEY_INDEXES = (
    IndexModel([("hash", ASCENDING)], name="hash", unique=True),
    IndexModel([("changed_at", ASCENDING)], name="changed_at", sparse=True),
)

_OVERLAP = timedelta(seconds=60)
"""How far `changed_since` looks behind the moment it is asked for, because of reads that were under way."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A new key; `expires_at` null: valid until it is revoked."""

    id: str
    owner: str
    user: str
    scopes: Sequence[AccessScope]
    privileged: bool
    created_at: datetime
    expires_at: datetime | None


class ApiKeyRepository:
    """Reads and writes API keys.

    `{_id, hash, owner, user, scopes, privileged, created_at, expires_at, revoked_at, changed_at, version, outbox}`;
    `changed_at` is when the key was revoked or rotated, absent before.
    """

    def __init__(self, database: Any) -> None:
        self._keys = database[API_KEYS]

    async def insert(self, key: ApiKey, key_hash: str, event: Event[ApiKeyCreated]) -> None:
        """Store a new key."""
        await self._keys.insert_one(
            {
                "_id": key.id,
                "hash": key_hash,
                "owner": key.owner,
                "user": key.user,
                "scopes": [scope.value for scope in key.scopes],
                "privileged": key.privileged,
                "created_at": key.created_at,
                "expires_at": key.expires_at,
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
        update = {**change({}, [event]), "$currentDate": {"revoked_at": True, "changed_at": True}}
        result = await self._keys.update_one({"_id": key_id, "revoked_at": None}, update)
        return bool(result.modified_count)

    async def expire(self, key_id: str, version: int, expires_at: datetime, event: Event[ApiKeyRotated]) -> bool:
        """Let a key end at a moment; False where the key is no more as it was read."""
        update = {**change({"expires_at": expires_at}, [event]), "$currentDate": {"changed_at": True}}
        result = await self._keys.update_one({"_id": key_id, "version": version, "revoked_at": None}, update)
        return bool(result.modified_count)

    async def changed_since(self, moment: datetime | None) -> list[tuple[str, datetime]]:
        """Ids and times of the keys revoked or rotated at `moment` or later (null: ever), and a minute before."""
        since = {"$gte": moment - _OVERLAP} if moment else {"$ne": None}
        found = self._keys.find({"changed_at": since}, {"changed_at": 1})
        return [(str(key["_id"]), key["changed_at"]) async for key in found]
