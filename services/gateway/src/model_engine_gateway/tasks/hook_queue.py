"""The hooks of ended tasks, which wait in the tasks' documents: every query about them.

Whoever takes a task's hooks has them for a minute; if it dies, they are taken again.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pymongo import ASCENDING, ReturnDocument

from model_engine_chassis.outbox import outbox_entry
from model_engine_contracts.events import Event, TaskCallbackFailed
from model_engine_gateway.hooks.plan import PlannedHooks
from model_engine_gateway.tasks.repository import HOOK_FIELDS, TASKS
from model_engine_gateway.tasks.states import TaskState

TAKEN = timedelta(seconds=60)
"""Longer than one attempt of a callback may last."""

_READ = dict.fromkeys(
    (
        "attempt",
        "owner",
        "state",
        "result",
        "stored_result",
        "status_code",
        "error",
        "traceback",
        "hooks_json",
        "hooks_attempts",
        "hooks_recorded",
    ),
    1,
)


@dataclass(frozen=True, slots=True)
class DueHooks:
    """The hooks of one attempt of a task. `fields` are those of its result; `attempts` of the callback have failed."""

    task_id: str
    attempt: int
    owner: str
    state: TaskState
    hooks: PlannedHooks
    attempts: int
    is_recorded: bool
    fields: dict[str, Any]


class HookQueue:
    """Takes, postpones and finishes the hooks of tasks."""

    def __init__(self, database: Any) -> None:
        self._tasks = database[TASKS]

    async def take(self, now: datetime, except_owners: Collection[str]) -> DueHooks | None:
        """The hooks that are due for the longest time, of any owner but these; they are the caller's for a minute."""
        query: dict[str, Any] = {"hooks_pending": True, "open": None, "hooks_at": {"$lte": now}}
        if except_owners:
            query["owner"] = {"$nin": list(except_owners)}
        found = await self._tasks.find_one_and_update(
            query,
            {"$set": {"hooks_at": now + TAKEN}},
            projection=_READ,
            sort=[("hooks_at", ASCENDING)],
            return_document=ReturnDocument.AFTER,
        )
        if found is None:
            return None
        return DueHooks(
            task_id=found["_id"],
            attempt=found["attempt"],
            owner=found["owner"],
            state=TaskState(found["state"]),
            hooks=PlannedHooks.model_validate_json(found["hooks_json"]),
            attempts=found["hooks_attempts"],
            is_recorded=found.get("hooks_recorded", False),
            fields=found,
        )

    async def recorded(self, due: DueHooks) -> None:
        """Only the callback is left."""
        await self._tasks.update_one(_same(due), {"$set": {"hooks_recorded": True}})

    async def retry(self, due: DueHooks, attempts: int, at: datetime) -> None:
        """The callback is tried again at this moment."""
        await self._tasks.update_one(_same(due), {"$set": {"hooks_attempts": attempts, "hooks_at": at}})

    async def finish(self, due: DueHooks, event: Event[TaskCallbackFailed] | None = None) -> None:
        """Nothing is left to do; `event` says that the callback failed."""
        kept = ("hooks_json",) if due.state is TaskState.FAILURE else ()
        update: dict[str, Any] = {"$unset": {name: "" for name in HOOK_FIELDS if name not in kept}}
        if event is not None:
            update |= {"$push": {"outbox": outbox_entry(event)}, "$inc": {"version": 1}}
        await self._tasks.update_one(_same(due), update)


def _same(due: DueHooks) -> dict[str, Any]:
    """A task that was queued again meanwhile has other hooks to come."""
    return {"_id": due.task_id, "attempt": due.attempt, "open": None, "hooks_pending": True}
