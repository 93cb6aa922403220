"""The collection `bundles`."""

from collections.abc import Collection
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel

from model_engine_chassis.outbox import outbox_entry
from model_engine_contracts.api.bundles import ModelBundleOrderBy
from model_engine_contracts.events import BundleCreated, Event
from model_engine_gateway.domain.bundles import BundleDocument

BUNDLES = "bundles"

BUNDLE_INDEXES = (IndexModel([("owner", ASCENDING), ("name", ASCENDING), ("created_at", DESCENDING)], name="owner"),)

_NEWEST = [("created_at", DESCENDING), ("_id", DESCENDING)]
_OLDEST = [("created_at", ASCENDING), ("_id", ASCENDING)]


class BundleRepository:
    """Reads and writes bundles; every read is of one owner's."""

    def __init__(self, database: Any) -> None:
        self._bundles = database[BUNDLES]

    async def insert(self, bundle: BundleDocument, event: Event[BundleCreated]) -> None:
        """Store a new bundle."""
        await self._bundles.insert_one({**bundle.model_dump(by_alias=True), "outbox": [outbox_entry(event)]})

    async def find(self, owner: str, bundle_id: str) -> BundleDocument | None:
        """A bundle by its id."""
        return _read(await self._bundles.find_one({"_id": bundle_id, "owner": owner}, {"outbox": 0}))

    async def latest(self, owner: str, name: str) -> BundleDocument | None:
        """The newest bundle of a name."""
        return _read(await self._bundles.find_one({"owner": owner, "name": name}, {"outbox": 0}, sort=_NEWEST))

    async def schema_locations(self, owner: str, bundle_ids: Collection[str]) -> dict[str, str]:
        """Where the schemas of bundles lie, of those that name a place."""
        query = {"owner": owner, "_id": {"$in": list(bundle_ids)}, "schema_location": {"$type": "string"}}
        cursor = self._bundles.find(query, {"schema_location": 1})
        return {found["_id"]: found["schema_location"] async for found in cursor}

    async def list(self, owner: str, name: str | None, order: ModelBundleOrderBy | None) -> list[BundleDocument]:
        """All bundles, of one name if it is given."""
        query = {"owner": owner} if name is None else {"owner": owner, "name": name}
        sort = _NEWEST if order is ModelBundleOrderBy.NEWEST else _OLDEST
        return [
            BundleDocument.model_validate(found) async for found in self._bundles.find(query, {"outbox": 0}).sort(sort)
        ]


def _read(found: dict[str, Any] | None) -> BundleDocument | None:
    return None if found is None else BundleDocument.model_validate(found)
