"""The collection `idempotency`: which keyed request is running, and what was answered to those that are done.

A record is `{_id, attempt, held_until, delete_at}` while its request runs, and has `fingerprint` and `answer` when it
is done. Whoever inserts the record runs the request; an attempt that dies stops holding it after HOLD.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

IDEMPOTENCY = "idempotency"
HOLD = timedelta(seconds=10)
KEPT = timedelta(hours=24)

IDEMPOTENCY_INDEXES = (IndexModel([("delete_at", ASCENDING)], name="retention", expireAfterSeconds=0),)


@dataclass(frozen=True, slots=True)
class Done:
    """A request that was answered 200. `answer` is sealed by the caller; null where it was too large to keep."""

    fingerprint: str
    answer: bytes | None


class IdempotencyRepository:
    """Reads and writes the records; `record_id` stands for an owner and its key, `attempt` for one try to run it."""

    def __init__(self, database: Any) -> None:
        self._records = database[IDEMPOTENCY]

    async def claim(self, record_id: str, attempt: str, now: datetime) -> bool:
        """Whether this attempt may run: the key is new, or the attempt before it died."""
        held = {"attempt": attempt, "held_until": now + HOLD, "delete_at": now + KEPT}
        try:
            await self._records.insert_one({"_id": record_id, **held})
        except DuplicateKeyError:
            dead = {"_id": record_id, "held_until": {"$lt": now}}
            return bool((await self._records.update_one(dead, {"$set": held})).modified_count)
        return True

    async def find(self, record_id: str) -> Done | None:
        """What became of the key's request; null while it runs, and after it was released."""
        found = await self._records.find_one({"_id": record_id, "fingerprint": {"$exists": True}})
        return Done(found["fingerprint"], found["answer"]) if found else None

    async def hold(self, record_id: str, attempt: str, now: datetime) -> None:
        """Say that the attempt is alive."""
        held = {"$set": {"held_until": now + HOLD}}
        await self._records.update_one({"_id": record_id, "attempt": attempt, "held_until": {"$exists": True}}, held)

    async def finish(self, record_id: str, attempt: str, done: Done) -> None:
        """Keep the answer."""
        update = {"$set": {"fingerprint": done.fingerprint, "answer": done.answer}, "$unset": {"held_until": True}}
        await self._records.update_one({"_id": record_id, "attempt": attempt}, update)

    async def release(self, record_id: str, attempt: str) -> None:
        """Forget an attempt that changed nothing, so that the key can be used again."""
        await self._records.delete_one({"_id": record_id, "attempt": attempt, "held_until": {"$exists": True}})
