"""Every query of the builder: it finds in `endpoints`, and owns `rollouts`."""

from collections.abc import AsyncIterator, Collection
from datetime import datetime
from typing import Any

from pymongo import IndexModel
from pymongo.errors import DuplicateKeyError

from model_engine_builder.domain.rollout import Rollout, RolloutPhase
from model_engine_builder.domain.settled import EndpointSummary, RolloutSummary
from model_engine_builder.errors import LeaseSuperseded
from model_engine_contracts.documents import ENDPOINTS, EndpointDocument
from model_engine_contracts.endpoint_states import EndpointType

ROLLOUTS = "rollouts"
ROLLOUT_INDEXES = [IndexModel("environment_key"), IndexModel("serving.environment_key")]

PAGE = 1000


class EndpointRepository:
    """Reads endpoint documents; the gateway writes them."""

    def __init__(self, database: Any) -> None:
        self._endpoints = database[ENDPOINTS]

    async def find(self, endpoint_id: str) -> EndpointDocument | None:
        """One endpoint without its history, or None when it does not exist."""
        document = await self._endpoints.find_one({"_id": endpoint_id}, {"revisions": 0, "outbox": 0})
        return None if document is None else EndpointDocument.model_validate(document)

    async def summaries(self) -> AsyncIterator[EndpointSummary]:
        """Every endpoint that is not a mere tombstone."""
        fields = {"generation": 1, "deletion_requested": 1, "status.serving_generation": 1, "spec.endpoint_type": 1}
        async for document in self._endpoints.find({"tombstone": {"$ne": True}}, fields, batch_size=PAGE):
            yield EndpointSummary(
                id=document["_id"],
                generation=document["generation"],
                serving_generation=document["status"].get("serving_generation"),
                deletion_requested=document.get("deletion_requested", False),
                has_queue=document["spec"]["endpoint_type"] == EndpointType.ASYNC,
            )

    async def ids(self) -> set[str]:
        """The id of every endpoint, tombstones included."""
        return {document["_id"] async for document in self._endpoints.find({}, {"_id": 1}, batch_size=PAGE)}


class RolloutRepository:
    """What the builders remember."""

    def __init__(self, database: Any) -> None:
        self._rollouts = database[ROLLOUTS]

    async def find(self, endpoint_id: str) -> Rollout | None:
        """What is remembered of one endpoint."""
        document = await self._rollouts.find_one({"_id": endpoint_id})
        return None if document is None else Rollout.model_validate(document)

    async def save(self, rollout: Rollout) -> None:
        """Replace what is remembered. Raises LeaseSuperseded where a newer lease has written."""
        not_newer = {"_id": rollout.endpoint_id, "lease_epoch": {"$lte": rollout.lease_epoch}}
        try:
            await self._rollouts.replace_one(not_newer, rollout.model_dump(by_alias=True), upsert=True)
        except DuplicateKeyError as error:
            # The filter did not match, so the upsert tried to insert an id that exists.
            raise LeaseSuperseded(rollout.endpoint_id) from error

    async def summaries(self) -> dict[str, RolloutSummary]:
        """Every rollout by its endpoint."""
        fields = {"generation": 1, "phase": 1, "revision": 1}
        return {
            document["_id"]: RolloutSummary(
                generation=document["generation"],
                phase=RolloutPhase(document["phase"]),
                revision=document.get("revision"),
            )
            async for document in self._rollouts.find({}, fields, batch_size=PAGE)
        }

    async def endpoints_in(self, environment_key: str) -> list[str]:
        """The endpoints whose present or last good generation is in this environment."""
        query = {"$or": [{"environment_key": environment_key}, {"serving.environment_key": environment_key}]}
        return [document["_id"] async for document in self._rollouts.find(query, {"_id": 1})]

    async def environment_keys(self) -> set[str]:
        """Every environment that a present or last good generation is in."""
        fields = {"environment_key": 1, "serving.environment_key": 1}
        keys: set[str | None] = set()
        async for document in self._rollouts.find({}, fields, batch_size=PAGE):
            keys |= {document.get("environment_key"), (document.get("serving") or {}).get("environment_key")}
        return {key for key in keys if key is not None}

    async def without_endpoint(self, endpoints: Collection[str], before: datetime) -> list[str]:
        """Rollouts that rest since `before` and whose endpoint is not among `endpoints`."""
        found = self._rollouts.find({"since": {"$lt": before}}, {"_id": 1}, batch_size=PAGE)
        return [document["_id"] async for document in found if document["_id"] not in endpoints]

    async def remove(self, endpoint_id: str) -> None:
        """Forget an endpoint."""
        await self._rollouts.delete_one({"_id": endpoint_id})
