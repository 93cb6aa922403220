"""The connection to MongoDB. The only file that imports motor, which is past its end of life (ADR 2)."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from motor.motor_asyncio import (
    AsyncIOMotorClient,
    AsyncIOMotorCollection,
    AsyncIOMotorDatabase,
    AsyncIOMotorGridFSBucket,
)
from pymongo import IndexModel
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from model_engine_chassis.settings_base import MongoSettings

Database = AsyncIOMotorDatabase
Collection = AsyncIOMotorCollection
GridFsBucket = AsyncIOMotorGridFSBucket

TIMEOUT_SECONDS = 10.0
INSTALLATION = "installation"


def connect_mongo(settings: MongoSettings) -> Any:
    """The database: writes are acknowledged by a majority and journaled, reads come from the primary.

    No I/O happens here. An operation raises pymongo.errors.PyMongoError when no primary answers within ten seconds.
    """
    client: Any = AsyncIOMotorClient(
        settings.mongo_url,
        tz_aware=True,
        serverSelectionTimeoutMS=int(TIMEOUT_SECONDS * 1000),
        connectTimeoutMS=int(TIMEOUT_SECONDS * 1000),
        maxPoolSize=50,
        retryWrites=True,
        retryReads=True,
        appname=f"model-engine-{settings.instance_id}"[:128],
    )
    return client.get_database(
        settings.mongo_database,
        write_concern=WriteConcern(w="majority", j=True),
        read_concern=ReadConcern("majority"),
        read_preference=ReadPreference.PRIMARY,
    )


async def ensure_indexes(database: Any, indexes: Mapping[str, Sequence[IndexModel]]) -> None:
    """Create the indexes of each collection; those that exist are left as they are."""
    for collection, models in indexes.items():
        await database[collection].create_indexes(list(models))


async def installation_id(database: Any) -> str:
    """The id of this installation, made once: it tells a fresh or foreign database from the right one."""
    document = await database[INSTALLATION].find_one_and_update(
        {"_id": INSTALLATION}, {"$setOnInsert": {"installation": uuid4().hex}}, upsert=True, return_document=True
    )
    return str(document["installation"])
