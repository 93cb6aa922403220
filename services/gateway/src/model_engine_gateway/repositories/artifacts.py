"""Artifacts: a record in the collection `artifacts`, the bytes in a GridFS bucket beside it.

The record comes first and is completed when all bytes are stored, so that an upload that broke off is known and can be
swept: a record that stays incomplete for a day is of no upload that still runs.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, IndexModel

from model_engine_chassis.mongo import GridFsBucket
from model_engine_gateway.domain.bundles import UploadedArtifact

ARTIFACTS = "artifacts"
CONTENT_BUCKET = "artifact_content"
CHUNK_BYTES = 2 << 20

ARTIFACT_INDEXES = (
    IndexModel([("created_at", ASCENDING)], name="incomplete", partialFilterExpression={"complete": False}),
)


class TooLarge(Exception):
    """The upload is longer than allowed; nothing of it is kept."""


class ArtifactRepository:
    """Stores and reads artifacts."""

    def __init__(self, database: Any) -> None:
        self._artifacts = database[ARTIFACTS]
        self._chunks = database[f"{CONTENT_BUCKET}.chunks"]
        self._files = database[f"{CONTENT_BUCKET}.files"]
        self._bucket = GridFsBucket(database, CONTENT_BUCKET, chunk_size_bytes=CHUNK_BYTES)

    async def store(
        self,
        artifact_id: str,
        pieces: AsyncIterator[bytes],
        *,
        owner: str,
        user: str,
        python: str | None,
        now: datetime,
        max_bytes: int,
    ) -> UploadedArtifact:
        """Store the pieces as one artifact. Raises TooLarge, and whatever `pieces` raises; then nothing is kept."""
        await self._artifacts.insert_one(
            {
                "_id": artifact_id,
                "owner": owner,
                "created_by": user,
                "created_at": now,
                "python": python,
                "complete": False,
            }
        )
        digest, size = hashlib.sha256(), 0
        stream = self._bucket.open_upload_stream_with_id(artifact_id, artifact_id)
        try:
            async for piece in pieces:
                size += len(piece)
                if size > max_bytes:
                    raise TooLarge(max_bytes)
                digest.update(piece)
                await stream.write(piece)
            await stream.close()
        except BaseException:
            await asyncio.shield(self._discard(artifact_id))
            raise
        fields = {"sha256": digest.hexdigest(), "size": size, "complete": True}
        await self._artifacts.update_one({"_id": artifact_id}, {"$set": fields})
        return UploadedArtifact(id=artifact_id, owner=owner, sha256=fields["sha256"], size=size, python=python)

    async def find(self, artifact_id: str) -> UploadedArtifact | None:
        """A complete artifact, whoever owns it."""
        found = await self._artifacts.find_one({"_id": artifact_id, "complete": True})
        return None if found is None else UploadedArtifact.model_validate(found)

    async def read(self, artifact_id: str) -> AsyncIterator[bytes]:
        """The bytes of an artifact, piece by piece."""
        stream = await self._bucket.open_download_stream(artifact_id)
        while piece := await stream.readchunk():
            yield piece

    async def sweep(self, before: datetime) -> int:
        """Remove what is left of uploads that began before that moment and never ended; how many there were."""
        cursor = self._artifacts.find({"complete": False, "created_at": {"$lt": before}}, {"_id": 1})
        ids = [str(found["_id"]) async for found in cursor]
        for artifact_id in ids:
            await self._discard(artifact_id)
        return len(ids)

    async def _discard(self, artifact_id: str) -> None:
        """Remove the bytes (a broken upload leaves chunks) before the record, which is what makes them known."""
        await self._files.delete_one({"_id": artifact_id})
        await self._chunks.delete_many({"files_id": artifact_id})
        await self._artifacts.delete_one({"_id": artifact_id, "complete": False})
