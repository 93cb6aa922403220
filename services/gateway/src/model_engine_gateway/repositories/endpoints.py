"""The collection `endpoints`. A tombstone is invisible here: nothing is left of it but events to publish."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from model_engine_chassis.outbox import compare_and_set, outbox_entry
from model_engine_contracts.api.endpoints import ModelEndpointOrderBy
from model_engine_contracts.documents import ENDPOINTS, EndpointDocument
from model_engine_contracts.events import Event

ENDPOINT_INDEXES = (
    IndexModel(
        [("owner", ASCENDING), ("name", ASCENDING)],
        name="owner_name",
        unique=True,
        partialFilterExpression={"tombstone": False},
    ),
    IndexModel([("owner", ASCENDING), ("created_at", ASCENDING)], name="owner_created"),
)

APPLIED_FACTS = "applied_facts"
"""Ids of the last facts that changed the document: a fact that comes again is known by its id."""

REMEMBERED_FACTS = 32

_SORTS = {
    None: [("_id", ASCENDING)],
    ModelEndpointOrderBy.NEWEST: [("created_at", DESCENDING), ("_id", DESCENDING)],
    ModelEndpointOrderBy.OLDEST: [("created_at", ASCENDING), ("_id", ASCENDING)],
    ModelEndpointOrderBy.ALPHABETICAL: [("name", ASCENDING)],
}


class NameTaken(Exception):
    """The owner has an endpoint of this name already."""


@dataclass(frozen=True, slots=True)
class StoredEndpoint:
    """A document and the facts that made it what it is."""

    document: EndpointDocument
    applied_facts: tuple[str, ...]


class EndpointRepository:
    """Reads and writes endpoints."""

    def __init__(self, database: Any) -> None:
        self._endpoints = database[ENDPOINTS]

    async def insert(self, document: EndpointDocument, event: Event[Any]) -> None:
        """Store a new endpoint. Raises NameTaken."""
        try:
            await self._endpoints.insert_one(
                {**document.model_dump(by_alias=True), "outbox": [outbox_entry(event)], APPLIED_FACTS: []}
            )
        except DuplicateKeyError as error:
            raise NameTaken(document.name) from error

    async def find(self, endpoint_id: str) -> EndpointDocument | None:
        """An endpoint by its id, whoever owns it."""
        return _read(await self._endpoints.find_one({"_id": endpoint_id, "tombstone": False}, {"outbox": 0}))

    async def find_stored(self, endpoint_id: str) -> StoredEndpoint | None:
        """An endpoint with the facts that were applied to it."""
        found = await self._endpoints.find_one({"_id": endpoint_id, "tombstone": False}, {"outbox": 0})
        if found is None:
            return None
        return StoredEndpoint(EndpointDocument.model_validate(found), tuple(found.get(APPLIED_FACTS, ())))

    async def find_owned(self, owner: str, endpoint_id: str) -> EndpointDocument | None:
        """An endpoint of this owner by its id."""
        query = {"_id": endpoint_id, "owner": owner, "tombstone": False}
        return _read(await self._endpoints.find_one(query, {"outbox": 0}))

    async def exists(self, endpoint_id: str) -> bool:
        """Whether anything is left of an endpoint."""
        found = await self._endpoints.find_one({"_id": endpoint_id, "tombstone": False}, {"_id": 1})
        return found is not None

    async def list(self, owner: str, name: str | None, order: ModelEndpointOrderBy | None) -> list[EndpointDocument]:
        """All endpoints of an owner, the one of a name if it is given. Revisions are left out."""
        query: dict[str, Any] = {"owner": owner, "tombstone": False}
        if name is not None:
            query["name"] = name
        cursor = self._endpoints.find(query, {"outbox": 0, "revisions": 0}).sort(_SORTS[order])
        return [EndpointDocument.model_validate(found) async for found in cursor]

    async def edit(self, document: EndpointDocument, fields: dict[str, Any], events: Iterable[Event[Any]]) -> bool:
        """Set fields of the document as it was read; False where it changed since."""
        return await compare_and_set(self._endpoints, document.id, document.version, fields, events)

    async def edit_for_fact(
        self, stored: StoredEndpoint, fact_id: str, fields: dict[str, Any], events: Iterable[Event[Any]]
    ) -> bool:
        """The same, remembering the fact that is the cause."""
        applied = [*stored.applied_facts, fact_id][-REMEMBERED_FACTS:]
        return await self.edit(stored.document, {**fields, APPLIED_FACTS: applied}, events)


def _read(found: dict[str, Any] | None) -> EndpointDocument | None:
    return None if found is None else EndpointDocument.model_validate(found)
