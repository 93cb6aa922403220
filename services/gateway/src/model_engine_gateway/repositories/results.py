"""Large and pickled results: a record in the collection `results`, the bytes in a GridFS bucket beside it.

An upload is known from its first byte, so one that broke off can be swept. Of several uploads under one id the first
that is complete stays; the others are discarded, so that sending a result again changes nothing.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from model_engine_chassis.mongo import GridFsBucket
from model_engine_contracts.ids import new_id

RESULTS = "results"
CONTENT_BUCKET = "result_content"
CHUNK_BYTES = 2 << 20
UPLOAD_GRACE = timedelta(days=1)
"""An upload that is not complete by then is of nobody who still sends."""

RESULT_INDEXES = (
    IndexModel([("result_id", ASCENDING)], name="complete", unique=True, partialFilterExpression={"complete": True}),
    IndexModel([("delete_at", ASCENDING)], name="delete_at"),
)


class ResultTooLarge(Exception):
    """The upload is longer than allowed; nothing of it is kept."""


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A complete result; `size` in bytes."""

    id: str
    upload_id: str
    sha256: str
    size: int
    media_type: str


class ResultRepository:
    """Stores and reads results. `retention` is how long one is kept."""

    def __init__(self, database: Any, retention: timedelta) -> None:
        self._results = database[RESULTS]
        self._chunks = database[f"{CONTENT_BUCKET}.chunks"]
        self._files = database[f"{CONTENT_BUCKET}.files"]
        self._bucket = GridFsBucket(database, CONTENT_BUCKET, chunk_size_bytes=CHUNK_BYTES)
        self._retention = retention

    async def store(
        self, result_id: str, pieces: AsyncIterator[bytes], *, media_type: str, now: datetime, max_bytes: int
    ) -> ResultFile:
        """Store the pieces and return what is stored under this id now: these, or those of an earlier upload.

        Raises ResultTooLarge, and whatever `pieces` raises; then nothing is kept.
        """
        if (earlier := await self.find(result_id)) is not None:
            return earlier
        upload_id = new_id("upl")
        await self._results.insert_one(
            {
                "_id": upload_id,
                "result_id": result_id,
                "media_type": media_type,
                "complete": False,
                "delete_at": now + UPLOAD_GRACE,
            }
        )
        try:
            sha256, size = await self._write(upload_id, pieces, max_bytes)
            fields = {"sha256": sha256, "size": size, "complete": True, "delete_at": now + self._retention}
            await self._results.update_one({"_id": upload_id}, {"$set": fields})
        except DuplicateKeyError:
            await self._discard(upload_id)
            earlier = await self.find(result_id)
            assert earlier is not None
            return earlier
        except BaseException:
            await asyncio.shield(self._discard(upload_id))
            raise
        return ResultFile(result_id, upload_id, sha256, size, media_type)

    async def find(self, result_id: str) -> ResultFile | None:
        """A complete result."""
        found = await self._results.find_one({"result_id": result_id, "complete": True})
        if found is None:
            return None
        return ResultFile(result_id, found["_id"], found["sha256"], found["size"], found["media_type"])

    async def read(self, result: ResultFile) -> AsyncIterator[bytes]:
        """The bytes of a result, piece by piece."""
        stream = await self._bucket.open_download_stream(result.upload_id)
        while piece := await stream.readchunk():
            yield piece

    async def sweep(self, now: datetime) -> int:
        """Remove results whose time is over and what is left of uploads that broke off; how many there were."""
        cursor = self._results.find({"delete_at": {"$lt": now}}, {"_id": 1})
        ids = [str(found["_id"]) async for found in cursor]
        for upload_id in ids:
            await self._discard(upload_id)
        return len(ids)

    async def _write(self, upload_id: str, pieces: AsyncIterator[bytes], max_bytes: int) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        stream = self._bucket.open_upload_stream_with_id(upload_id, upload_id)
        async for piece in pieces:
            size += len(piece)
            if size > max_bytes:
                raise ResultTooLarge(max_bytes)
            digest.update(piece)
            await stream.write(piece)
        await stream.close()
        return digest.hexdigest(), size

    async def _discard(self, upload_id: str) -> None:
        """Remove the bytes before the record, which is what makes them known."""
        await self._files.delete_one({"_id": upload_id})
        await self._chunks.delete_many({"files_id": upload_id})
        await self._results.delete_one({"_id": upload_id})
