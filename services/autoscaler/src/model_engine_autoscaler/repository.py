"""Every query of the autoscaler. Its role on MongoDB is to find in `endpoints`, nothing else."""

from collections.abc import AsyncIterator
from typing import Any

from model_engine_contracts.documents import ENDPOINTS, EndpointDocument

_WITHOUT_HISTORY = {"revisions": 0, "outbox": 0}


class EndpointRepository:
    """Reads endpoint documents."""

    def __init__(self, database: Any) -> None:
        self._endpoints = database[ENDPOINTS]

    async def all(self) -> AsyncIterator[EndpointDocument]:
        """Every endpoint, without its past revisions."""
        async for document in self._endpoints.find({}, _WITHOUT_HISTORY):
            yield EndpointDocument.model_validate(document)

    async def get(self, endpoint_id: str) -> EndpointDocument | None:
        """One endpoint, or None when it does not exist."""
        document = await self._endpoints.find_one({"_id": endpoint_id}, _WITHOUT_HISTORY)
        return None if document is None else EndpointDocument.model_validate(document)
