"""The outbox in the document: a change and its events are one write, and a relay passes the events on.

A document carries `version`, `outbox` (events not yet passed on, oldest first) and `outbox_sequence` (how many of its
events were passed on). The relay stores each event in the history, publishes it, then pulls it out of the array without
raising `version`. Dying at any step repeats it: an event is stored once because its id is unique in the history, the
published copy is deduplicated by the same id, and a pull of what is gone does nothing.

The number of an event among those of its document is `outbox_sequence` + its place in the array. A pull raises the one
by as much as it shortens the other, so every relay computes the same number.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prometheus_client import Counter, Histogram
from pydantic import ValidationError
from pymongo import ASCENDING, DeleteOne, IndexModel, UpdateOne

from model_engine_chassis import trace
from model_engine_chassis.history_writer import HistoryWriter
from model_engine_chassis.leases import Lease, LeaseStore, lead
from model_engine_chassis.mongo import ensure_indexes
from model_engine_contracts.envelope import Event
from model_engine_contracts.events import load_event

log = logging.getLogger(__name__)

SEQUENCE = "outbox_sequence"
LEASE = "outbox-relay"
LEASE_SECONDS = 5.0
SWEEP_SECONDS = 5.0
SWEEP_DOCUMENTS = 1000
BATCH_DOCUMENTS = 64
DOCUMENT_EVENTS = 32
PENDING_DOCUMENTS = 10_000

OUTBOX_INDEXES = (
    IndexModel([("outbox.0.id", ASCENDING)], name="outbox", sparse=True),
    IndexModel([("tombstone", ASCENDING)], name="tombstone", partialFilterExpression={"tombstone": True}),
)
_WAITING: Mapping[str, Any] = {"$or": [{"outbox.0.id": {"$exists": True}}, {"tombstone": True}]}

_RELAYED = Counter("modelengine_outbox_events_total", "Events that the relay of this process passed on.")
_FAILED = Counter("modelengine_outbox_failures_total", "Documents whose events could not be passed on at once.")
_DELAY = Histogram(
    "modelengine_outbox_delay_seconds",
    "From the making of an event to its publication.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)

Reference = tuple[str, Any]
"""Collection and `_id` of a document."""


def outbox_entry(event: Event[Any]) -> dict[str, Any]:
    """The event as it stands in a document's outbox."""
    return event.model_dump(mode="json", exclude_none=True)


def change(fields: Mapping[str, Any], events: Iterable[Event[Any]]) -> dict[str, Any]:
    """The update that sets these fields, raises the version and says these events, all in one write."""
    return {
        "$set": dict(fields),
        "$inc": {"version": 1},
        "$push": {"outbox": {"$each": [outbox_entry(event) for event in events]}},
    }


async def compare_and_set(
    collection: Any, document_id: Any, version: int, fields: Mapping[str, Any], events: Iterable[Event[Any]] = ()
) -> bool:
    """Apply `change` if the document still has this version; False when somebody else was faster (read again)."""
    result = await collection.update_one({"_id": document_id, "version": version}, change(fields, events))
    return bool(result.matched_count)


@dataclass(frozen=True, slots=True)
class _Outbox:
    """What a document had to say when it was read; each event has its sequence."""

    collection: str
    document_id: Any
    events: list[Event[Any]]
    tombstone: bool
    has_more: bool


class _Pending:
    """References of changed documents, each once, in order. Beyond its bound the sweep must find them."""

    def __init__(self) -> None:
        self._references: dict[Reference, None] = {}
        self._filled = asyncio.Event()

    def add(self, reference: Reference) -> None:
        if len(self._references) < PENDING_DOCUMENTS:
            self._references[reference] = None
            self._filled.set()

    async def take(self, count: int) -> list[Reference]:
        """Up to `count` of them; waits for the first."""
        await self._filled.wait()
        taken = list(self._references)[:count]
        for reference in taken:
            del self._references[reference]
        if not self._references:
            self._filled.clear()
        return taken


class OutboxRelay:
    """Passes on the events of all documents of some collections; of several relays, the one with the lease works."""

    def __init__(
        self,
        database: Any,
        publish: Callable[[Event[Any]], Awaitable[object]],
        collections: Sequence[str],
        store: LeaseStore,
        holder: str,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._database = database
        self._publish = publish
        self._collections = list(collections)
        self._store = store
        self._holder = holder
        self._lease_seconds = lease_seconds

    async def run(self, stop: asyncio.Event) -> None:
        """Work whenever this process holds the lease, until `stop` is set."""
        await lead(self._store, LEASE, self._holder, self._lease_seconds, self._work, stop)

    async def _work(self, lease: Lease) -> None:
        """Lead: any error of the database ends this, and `lead` starts it anew."""
        await ensure_indexes(self._database, dict.fromkeys(self._collections, OUTBOX_INDEXES))
        writer = await HistoryWriter.take_over(self._database, lease.epoch)
        pending = _Pending()
        # The stream is open before the first sweep, so that no change falls between them.
        async with self._database.watch(_pipeline(self._collections)) as stream, asyncio.TaskGroup() as group:
            group.create_task(self._watch(stream, pending))
            group.create_task(self._sweep(writer, pending))
            while True:
                await self._relay(writer, pending, await pending.take(BATCH_DOCUMENTS))

    async def _watch(self, stream: Any, pending: _Pending) -> None:
        async for seen in stream:
            pending.add((seen["ns"]["coll"], seen["documentKey"]["_id"]))

    async def _sweep(self, writer: HistoryWriter, pending: _Pending) -> None:
        """Find what the stream did not tell: changes made before it was opened, and documents that failed."""
        while True:
            for name in self._collections:
                async for document in self._database[name].find(_WAITING, {"_id": 1}).limit(SWEEP_DOCUMENTS):
                    pending.add((name, document["_id"]))
            await writer.save_head()
            await asyncio.sleep(SWEEP_SECONDS)

    async def _relay(self, writer: HistoryWriter, pending: _Pending, references: Sequence[Reference]) -> None:
        """Store, publish, pull: in this order, so that dying between two steps repeats the first of them at worst."""
        outboxes = await self._read(references)
        stored = iter(await writer.append([event for outbox in outboxes for event in outbox.events]))
        numbered = [[next(stored) for _ in outbox.events] for outbox in outboxes]
        published = await asyncio.gather(*(self._publish_all(events) for events in numbered))
        await self._pull(outboxes, published)
        for outbox, count in zip(outboxes, published, strict=True):
            if outbox.has_more and count == len(outbox.events):
                pending.add((outbox.collection, outbox.document_id))

    async def _read(self, references: Sequence[Reference]) -> list[_Outbox]:
        """The outboxes as they are now, which may be more than what the change stream announced."""
        found = []
        for name in self._collections:
            ids = [document_id for collection, document_id in references if collection == name]
            if not ids:
                continue
            cursor = self._database[name].find(
                {"_id": {"$in": ids}, **_WAITING},
                {"outbox": {"$slice": DOCUMENT_EVENTS}, SEQUENCE: 1, "tombstone": 1},
            )
            found += [_outbox(name, document) for document in await cursor.to_list(length=None)]
        return found

    async def _publish_all(self, events: Sequence[Event[Any]]) -> int:
        """Publish in order up to the first that fails; how many succeeded. The sweep brings the others again."""
        for count, event in enumerate(events):
            try:
                with trace.use(event.traceparent):
                    await self._publish(event)
            except Exception as error:  # noqa: BLE001  # whatever it is, the other documents' events must go on
                _FAILED.inc()
                log.warning("event not published, will be tried again", extra={"event": event.id, "error": repr(error)})
                return count
            _RELAYED.inc()
            _DELAY.observe(max(0.0, (datetime.now(UTC) - event.time).total_seconds()))
        return len(events)

    async def _pull(self, outboxes: Sequence[_Outbox], published: Sequence[int]) -> None:
        """Take the published events out of their documents, and away what then is an empty tombstone."""
        writes: dict[str, list[UpdateOne | DeleteOne]] = {}
        for outbox, count in zip(outboxes, published, strict=True):
            batch = writes.setdefault(outbox.collection, [])
            if count:
                done = outbox.events[:count]
                pull = {"$pull": {"outbox": {"id": {"$in": [event.id for event in done]}}}}
                batch.append(UpdateOne({"_id": outbox.document_id}, pull | {"$max": {SEQUENCE: done[-1].sequence}}))
            if outbox.tombstone:
                batch.append(DeleteOne({"_id": outbox.document_id, "tombstone": True, "outbox": {"$in": [None, []]}}))
        for name, batch in writes.items():
            if batch:
                await self._database[name].bulk_write(batch, ordered=True)


def _pipeline(collections: Sequence[str]) -> list[dict[str, Any]]:
    """Which changes concern the relay: those that fill an outbox, and not its own pulls (they set the sequence)."""
    touched = {"$objectToArray": {"$ifNull": ["$updateDescription.updatedFields", {}]}}
    fills = {"$anyElementTrue": {"$map": {"input": touched, "in": _is_outbox("$$this.k")}}}
    return [
        {
            "$match": {
                "ns.coll": {"$in": list(collections)},
                f"updateDescription.updatedFields.{SEQUENCE}": {"$exists": False},
                "$or": [
                    {"operationType": {"$in": ["insert", "replace"]}, "fullDocument.outbox.0": {"$exists": True}},
                    {"operationType": "update", "$expr": fills},
                ],
            }
        },
        {"$project": {"ns": 1, "documentKey": 1}},
    ]


def _is_outbox(key: str) -> dict[str, Any]:
    return {"$regexMatch": {"input": key, "regex": r"^outbox(\.|$)"}}


def _outbox(collection: str, document: Mapping[str, Any]) -> _Outbox:
    """Read an outbox up to the first event that this process cannot read."""
    entries = document.get("outbox", [])
    already = int(document.get(SEQUENCE, 0))
    events: list[Event[Any]] = []
    for entry in entries:
        try:
            event = load_event(entry)
        except ValidationError as error:
            _FAILED.inc()
            log.error(
                "an event in an outbox is not readable: upgrade this service, or mend the document",
                extra={
                    "collection": collection,
                    "document": document["_id"],
                    "error": str(error.errors(include_input=False, include_url=False)),
                },
            )
            break
        events.append(event.model_copy(update={"sequence": already + len(events) + 1}))
    return _Outbox(
        collection=collection,
        document_id=document["_id"],
        events=events,
        tombstone=bool(document.get("tombstone")),
        has_more=len(entries) == DOCUMENT_EVENTS,
    )
