"""The collection `tasks`: every query.

A task is `open` until it ends, and `unpublished` until its message's sequence is known; both fields are absent
otherwise, so the indexes below hold only the tasks that work is left for.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel, UpdateOne

from model_engine_chassis.outbox import outbox_entry
from model_engine_contracts.documents import ENDPOINTS
from model_engine_contracts.envelope import Event, new_event
from model_engine_contracts.events import TaskReplayed
from model_engine_gateway.clock import now
from model_engine_gateway.events import SOURCE
from model_engine_gateway.tasks.states import TaskState
from model_engine_gateway.tasks.task import FailedTask, Finish, Publication, Start, Task, TaskRef, TaskSummary

TASKS = "tasks"

TASK_INDEXES = (
    IndexModel(
        [("open", ASCENDING), ("endpoint_id", ASCENDING), ("sequence", ASCENDING)],
        name="open",
        partialFilterExpression={"open": True},
    ),
    IndexModel([("expires_at", ASCENDING)], name="expiry", partialFilterExpression={"open": True}),
    IndexModel([("queued_at", ASCENDING)], name="unpublished", partialFilterExpression={"unpublished": True}),
    IndexModel([("owner", ASCENDING), ("submitted_at", DESCENDING), ("_id", DESCENDING)], name="owner"),
    IndexModel(
        [("open", ASCENDING), ("hooks_at", ASCENDING)], name="hooks", partialFilterExpression={"hooks_pending": True}
    ),
    IndexModel([("delete_at", ASCENDING)], name="retention", sparse=True, expireAfterSeconds=0),
)

_REFERENCE = {"endpoint_id": 1, "attempt": 1, "sequence": 1}
_TASK = _REFERENCE | {
    "owner": 1,
    "request": 1,
    "destination_path": 1,
    "submitted_at": 1,
    "expires_at": 1,
    "timeout_seconds": 1,
    "traceparent": 1,
    "hooks_json": 1,
}
_SUMMARY = dict.fromkeys(("endpoint_id", "state", "attempt", "submitted_at", "finished_at", "error", "deliveries"), 1)
_OF_AN_END = (
    "finished_at",
    "delete_at",
    "result",
    "stored_result",
    "status_code",
    "error",
    "traceback",
    "worker",
    "deliveries",
    "hooks_recorded",
)
PAGE_MILLISECONDS = 5000
HOOK_FIELDS = ("hooks_pending", "hooks_json", "hooks_at", "hooks_attempts", "hooks_recorded")
"""What is there while hooks are to run. `hooks_at` is when they are looked at next; `hooks_recorded` says that only the
callback is left, and `hooks_attempts` how often that failed. A failed task keeps `hooks_json`, for a replay."""

_TOLD_TO_HOOKS = (TaskState.SUCCESS, TaskState.FAILURE)
_KEPT_FOR_REPLAY = (TaskState.FAILURE,)


def _nobody(task_ids: Iterable[str]) -> None:
    return None


class TaskRepository:
    """Reads and writes tasks. `retention` is how long a finished one is kept; `on_end` hears which may have ended."""

    def __init__(self, database: Any, retention: timedelta, on_end: Callable[[Iterable[str]], None] = _nobody) -> None:
        self._tasks = database[TASKS]
        self._endpoints = database[ENDPOINTS]
        self._retention = retention
        self._on_end = on_end

    # --- the way of one task ----------------------------------------------------------------------------------------

    async def insert(self, tasks: Sequence[Task]) -> None:
        """Store new tasks; when this returns they are durable."""
        await self._tasks.insert_many([_document(task) for task in tasks], ordered=False)

    async def record_publications(self, published: Sequence[Publication], stream: str) -> None:
        """Remember where in the queue these tasks are. What ended meanwhile, or has a newer attempt, is left alone."""
        await self._tasks.bulk_write(
            [
                UpdateOne(
                    {"_id": task_id, "open": True, "attempt": attempt},
                    {
                        "$set": {"sequence": sequence, "stream": stream},
                        "$unset": {"unpublished": ""},
                    },
                )
                for task_id, attempt, sequence in published
            ],
            ordered=False,
        )

    async def apply(self, effects: Sequence[Start | Finish]) -> int:
        """Apply reports; those that come too late change nothing, and neither does repeating one.

        Returns how many changed something.
        """
        history = await self._history(effects)
        writes = [
            _start(effect) if isinstance(effect, Start) else self._finish(effect, event)
            for effect, event in zip(effects, history, strict=True)
        ]
        if not writes:
            return 0
        result = await self._tasks.bulk_write(writes, ordered=False)
        self._on_end(effect.task_id for effect in effects if isinstance(effect, Finish))
        return int(result.modified_count)

    async def find(self, task_id: str, owner: str) -> dict[str, Any] | None:
        """What clients may read of a task, if it is this owner's."""
        projection = dict.fromkeys(
            ("state", "result", "stored_result", "error", "traceback", "status_code", "worker"), 1
        )
        found: dict[str, Any] | None = await self._tasks.find_one({"_id": task_id, "owner": owner}, projection)
        return found

    async def find_open(self, query: dict[str, Any]) -> TaskRef | None:
        """One open task."""
        found = await self._tasks.find_one({**query, "open": True}, _REFERENCE)
        return None if found is None else _reference(found)

    async def ended(self, task_ids: Sequence[str]) -> list[str]:
        """Those of these tasks that have ended."""
        query = {"_id": {"$in": list(task_ids)}, "open": {"$exists": False}}
        return [str(found["_id"]) async for found in self._tasks.find(query, {"_id": 1})]

    async def page(self, query: dict[str, Any], before: tuple[datetime, str] | None, limit: int) -> list[TaskSummary]:
        """Tasks by a query that names their owner, those submitted last first, behind the one of `before`.

        Raises pymongo.errors.ExecutionTimeout where too many tasks had to be looked at.
        """
        if before is not None:
            moment, task_id = before
            query = query | {
                "submitted_at": {"$lte": moment},
                "$or": [{"submitted_at": {"$lt": moment}}, {"_id": {"$lt": task_id}}],
            }
        cursor = self._tasks.find(query, _SUMMARY).sort([("submitted_at", DESCENDING), ("_id", DESCENDING)])
        found = await cursor.max_time_ms(PAGE_MILLISECONDS).limit(limit).to_list(length=limit)
        return [_summary(task) for task in found]

    async def state(self, task_id: str, owner: str) -> TaskState | None:
        """Where a task stands; null where the owner has none of this id."""
        found = await self._tasks.find_one({"_id": task_id, "owner": owner}, {"state": 1})
        return None if found is None else TaskState(found["state"])

    async def open_task(self, task_id: str) -> Task | None:
        """A task as it is queued, while it is open."""
        found = await self._tasks.find_one({"_id": task_id, "open": True}, _TASK)
        return None if found is None else _task(found)

    async def failed(self, task_id: str, owner: str) -> FailedTask | None:
        """A failed task of this owner."""
        query = {"_id": task_id, "owner": owner, "state": TaskState.FAILURE, "request": {"$exists": True}}
        found = await self._tasks.find_one(query, _TASK | _SUMMARY | {"traceback": 1, "worker": 1})
        if found is None:
            return None
        return FailedTask(_task(found), _summary(found), found.get("traceback"), found.get("worker"))

    async def reopen(self, task: Task) -> bool:
        """Queue a failed task again, as this attempt; False when somebody else did."""
        event = new_event(
            TaskReplayed(task_id=task.id, endpoint_id=task.endpoint_id, attempt=task.attempt),
            source=SOURCE,
            owner=task.owner,
            traceparent=task.traceparent,
        )
        result = await self._tasks.update_one(
            {"_id": task.id, "state": TaskState.FAILURE, "attempt": task.attempt - 1},
            {
                "$set": _as_queued(task, now()),
                "$unset": dict.fromkeys(_OF_AN_END, ""),
                "$inc": {"version": 1},
                "$push": {"outbox": outbox_entry(event)},
            },
        )
        return bool(result.matched_count)

    # --- what the sweep looks for -----------------------------------------------------------------------------------

    async def unpublished(self, before: datetime, limit: int) -> list[Task]:
        """Tasks whose publication has been unknown since before this moment, oldest first."""
        cursor = self._tasks.find({"unpublished": True, "queued_at": {"$lt": before}}, _TASK)
        found = await cursor.sort("queued_at", ASCENDING).to_list(length=limit)
        return [_task(task) for task in found]

    async def postpone(self, tasks: Iterable[TaskRef], queued_at: datetime) -> None:
        """These tasks cannot be published now: the others come first."""
        ids = [task.id for task in tasks]
        await self._tasks.update_many({"_id": {"$in": ids}, "unpublished": True}, {"$set": {"queued_at": queued_at}})

    async def expired(self, before: datetime, limit: int) -> list[TaskRef]:
        """Tasks that nobody started and whose time was over before this moment."""
        query = {"open": True, "expires_at": {"$lt": before}, "state": TaskState.QUEUED}
        return [_reference(found) async for found in self._tasks.find(query, _REFERENCE).limit(limit)]

    async def requeue_foreign(self, stream: str, queued_at: datetime) -> int:
        """Every open task that was published to an earlier stream is to be published again, as a new attempt.

        `queued_at` says since when: in the past, the sweep does it at once.
        """
        result = await self._tasks.update_many(
            {"open": True, "sequence": {"$ne": None}, "stream": {"$ne": stream}}, _requeue(queued_at)
        )
        return int(result.modified_count)

    async def requeue(self, tasks: Iterable[TaskRef], queued_at: datetime) -> int:
        """These tasks have no live message: publish them again, as a new attempt. Returns how many were open still."""
        writes = [
            UpdateOne(
                {"_id": task.id, "open": True, "attempt": task.attempt, "sequence": task.sequence}, _requeue(queued_at)
            )
            for task in tasks
        ]
        if not writes:
            return 0
        return int((await self._tasks.bulk_write(writes, ordered=False)).modified_count)

    async def open_endpoints(self) -> list[str]:
        """The endpoints that have open tasks."""
        return [str(endpoint_id) for endpoint_id in await self._tasks.distinct("endpoint_id", {"open": True})]

    async def leaving(self, endpoint_ids: Sequence[str]) -> set[str]:
        """Those of these endpoints that are being deleted or gone."""
        query = {"_id": {"$in": list(endpoint_ids)}, "deletion_requested": False, "tombstone": False}
        staying = {str(found["_id"]) async for found in self._endpoints.find(query, {"_id": 1})}
        return set(endpoint_ids) - staying

    async def open_tasks(self, endpoint_id: str, limit: int) -> list[TaskRef]:
        """Open tasks of an endpoint."""
        query = {"open": True, "endpoint_id": endpoint_id}
        return [_reference(found) async for found in self._tasks.find(query, _REFERENCE).limit(limit)]

    async def published_counts(self) -> dict[str, int]:
        """How many open tasks of each endpoint should have a message in its queue."""
        pipeline = [
            {"$match": {"open": True, "sequence": {"$gt": 0}}},
            {"$group": {"_id": "$endpoint_id", "count": {"$sum": 1}}},
        ]
        return {str(found["_id"]): int(found["count"]) async for found in self._tasks.aggregate(pipeline)}

    async def published(self, endpoint_id: str, after: int, limit: int) -> list[TaskRef]:
        """Open tasks of an endpoint in the order of its queue, behind sequence `after`."""
        query = {"open": True, "endpoint_id": endpoint_id, "sequence": {"$gt": after}}
        cursor = self._tasks.find(query, _REFERENCE).sort("sequence", ASCENDING).limit(limit)
        return [_reference(found) async for found in cursor]

    # --- helpers ----------------------------------------------------------------------------------------------------

    async def _history(self, effects: Sequence[Start | Finish]) -> list[Event[Any] | None]:
        """What each effect tells the owner of its task, in the trace of the task."""
        told: list[Any] = [effect.history if isinstance(effect, Finish) else None for effect in effects]
        ids = [data.task_id for data in told if data is not None]
        if not ids:
            return told
        query = {"_id": {"$in": ids}}
        about = {found["_id"]: found async for found in self._tasks.find(query, {"owner": 1, "traceparent": 1})}
        return [data and _event(data, about.get(data.task_id)) for data in told]

    def _finish(self, effect: Finish, event: Event[Any] | None) -> UpdateOne:
        query: dict[str, Any] = {"_id": effect.task_id, "open": True}
        if effect.attempt is not None:
            query["attempt"] = effect.attempt
        fields = {
            "state": effect.state,
            "finished_at": effect.at,
            "delete_at": effect.at + self._retention,
            "result": effect.result,
            "stored_result": None if effect.stored_result is None else effect.stored_result.model_dump(),
            "status_code": effect.status_code,
            "error": effect.error,
            "traceback": effect.traceback,
            "worker": effect.worker,
            "deliveries": effect.deliveries,
        }
        dropped = {"open": "", "unpublished": ""}
        if effect.state not in _KEPT_FOR_REPLAY:
            dropped["request"] = ""
        if effect.state not in _TOLD_TO_HOOKS:
            dropped |= dict.fromkeys(HOOK_FIELDS, "")
        update: dict[str, Any] = {
            "$set": {name: value for name, value in fields.items() if value is not None},
            "$unset": dropped,
            "$inc": {"version": 1},
        }
        if event is not None:
            update["$push"] = {"outbox": outbox_entry(event)}
        return UpdateOne(query, update)


def _event(data: Any, task: dict[str, Any] | None) -> Event[Any] | None:
    if task is None:
        return None
    return new_event(data, source=SOURCE, owner=task["owner"], traceparent=task["traceparent"])


def _start(effect: Start) -> UpdateOne:
    query = {"_id": effect.task_id, "open": True, "attempt": effect.attempt, "state": TaskState.QUEUED}
    return UpdateOne(query, {"$set": {"state": TaskState.STARTED}})


def _requeue(queued_at: datetime) -> dict[str, Any]:
    return {
        "$set": {"unpublished": True, "queued_at": queued_at, "sequence": None, "state": TaskState.QUEUED},
        "$inc": {"attempt": 1, "version": 1},
    }


def _document(task: Task) -> dict[str, Any]:
    return {
        "_id": task.id,
        "endpoint_id": task.endpoint_id,
        "owner": task.owner,
        "request": task.request,
        "destination_path": task.destination_path,
        "submitted_at": task.submitted_at,
        "timeout_seconds": task.timeout_seconds,
        "traceparent": task.traceparent,
        "version": 1,
        **_as_queued(task, task.submitted_at),
    }


def _as_queued(task: Task, queued_at: datetime) -> dict[str, Any]:
    hooks: dict[str, Any] = {}
    if task.hooks_json is not None:
        hooks = {"hooks_pending": True, "hooks_json": task.hooks_json, "hooks_at": queued_at, "hooks_attempts": 0}
    return hooks | {
        "state": TaskState.QUEUED,
        "attempt": task.attempt,
        "expires_at": task.expires_at,
        "sequence": None,
        "queued_at": queued_at,
        "open": True,
        "unpublished": True,
    }


def _task(found: dict[str, Any]) -> Task:
    fields: dict[str, Any] = {name: found.get(name) for name in _TASK}
    return Task(id=found["_id"], **fields)


def _reference(found: dict[str, Any]) -> TaskRef:
    return TaskRef(found["_id"], found["endpoint_id"], found["attempt"], found["sequence"])


def _summary(found: dict[str, Any]) -> TaskSummary:
    return TaskSummary(
        id=found["_id"],
        endpoint_id=found["endpoint_id"],
        state=TaskState(found["state"]),
        attempt=found["attempt"],
        submitted_at=found["submitted_at"],
        finished_at=found.get("finished_at"),
        error=found.get("error"),
        deliveries=found.get("deliveries"),
    )
