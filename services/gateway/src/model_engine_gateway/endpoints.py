"""What can be done with endpoints: every change is the next generation of one document, and supersedes the last."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from uuid import uuid4

from model_engine_chassis.retry import backoff
from model_engine_contracts.api.endpoints import (
    CreateModelEndpointV1Request,
    ModelEndpointOrderBy,
    UpdateModelEndpointV1Request,
)
from model_engine_contracts.documents import BundleSnapshot, EndpointDocument, Revision
from model_engine_contracts.ids import new_id
from model_engine_gateway.clock import now
from model_engine_gateway.domain.bundles import snapshot
from model_engine_gateway.domain.endpoint_changes import check_new_endpoint, check_update, new_spec, updated_spec
from model_engine_gateway.domain.endpoint_documents import Edit, deletion, new_endpoint, next_generation
from model_engine_gateway.domain.endpoint_view import check_restart
from model_engine_gateway.domain.revisions import NoSuchRevision, restored_spec, revision_to_restore
from model_engine_gateway.errors import ApiError
from model_engine_gateway.events import history_event
from model_engine_gateway.principals import Principal
from model_engine_gateway.repositories.bundles import BundleRepository
from model_engine_gateway.repositories.endpoints import EndpointRepository, NameTaken

ATTEMPTS = 30
DELETION_SECONDS = 9.0
"""How long DELETE waits: existing clients give up after ten seconds."""

DELETION_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Rollback:
    """A change that restored an old revision: its id, the new generation, and the generation it was taken from."""

    change_id: str
    generation: int
    restored: int


class Endpoints:
    """Creates, changes, deletes and reads endpoints for their owners."""

    def __init__(self, endpoints: EndpointRepository, bundles: BundleRepository) -> None:
        self._endpoints = endpoints
        self._bundles = bundles

    async def create(self, caller: Principal, request: CreateModelEndpointV1Request) -> str:
        """Record generation 1 and return the id of the change. Raises Invalid and ApiError."""
        check_new_endpoint(request)
        bundle = await self._bundles.find(caller.owner, request.model_bundle_id)
        if bundle is None:
            raise ApiError(404, "The specified model bundle could not be found.", "bundle_not_found")
        document, requested = new_endpoint(
            new_spec(request, snapshot(bundle)),
            endpoint_id=new_id("end"),
            name=request.name,
            owner=caller.owner,
            user=caller.user,
            now=now(),
        )
        try:
            await self._endpoints.insert(document, history_event(requested, caller.owner))
        except NameTaken as error:
            raise ApiError(400, "The specified model endpoint already exists.", "endpoint_exists") from error
        return _change_id()

    async def update(self, caller: Principal, endpoint_id: str, request: UpdateModelEndpointV1Request) -> str:
        """Record the next generation and return the id of the change. Raises Invalid and ApiError."""
        check_update(request)
        not_found = ApiError(404, "The specified model endpoint or model bundle was not found.", "endpoint_not_found")
        bundle: BundleSnapshot | None = None
        if request.model_bundle_id is not None:
            await self._owned(caller, endpoint_id, not_found)
            found = await self._bundles.find(caller.owner, request.model_bundle_id)
            if found is None:
                raise not_found
            bundle = snapshot(found)

        def edit(document: EndpointDocument) -> Edit:
            spec = updated_spec(document.spec, request, bundle)
            return next_generation(document, spec, user=caller.user, now=now())

        await self._change(caller, endpoint_id, not_found, edit)
        return _change_id()

    async def restart(self, caller: Principal, endpoint_id: str) -> None:
        """Record a generation that replaces every worker. Raises ApiError and Invalid."""

        def edit(document: EndpointDocument) -> Edit:
            check_restart(document)
            spec = document.spec
            restarted = spec.model_copy(update={"restart_nonce": spec.restart_nonce + 1})
            return next_generation(document, restarted, user=caller.user, now=now())

        not_found = ApiError(404, f"Model Endpoint {endpoint_id} was not found.", "endpoint_not_found")
        await self._change(caller, endpoint_id, not_found, edit)

    async def rollback(self, caller: Principal, endpoint_id: str, generation: int | None) -> Rollback:
        """Record a generation that asks for what an older one asked for. Raises ApiError and Invalid."""
        restored: Revision | None = None

        def edit(document: EndpointDocument) -> Edit:
            nonlocal restored
            try:
                restored = revision_to_restore(document, generation)
            except NoSuchRevision as error:
                raise ApiError(404, str(error), "revision_not_found") from error
            return next_generation(document, restored_spec(document.spec, restored), user=caller.user, now=now())

        changed = await self._change(caller, endpoint_id, _endpoint_not_found(endpoint_id), edit)
        assert restored is not None
        return Rollback(_change_id(), changed.generation + 1, restored.generation)

    async def delete(self, caller: Principal, endpoint_id: str) -> None:
        """Make "gone" the desired state and wait until it is reached, a bounded time. Raises ApiError.

        Deleting what is being deleted waits along.
        """
        not_found = _endpoint_not_found(endpoint_id)
        if not (await self._owned(caller, endpoint_id, not_found)).deletion_requested:
            await self._change(
                caller, endpoint_id, not_found, lambda document: deletion(document, user=caller.user, now=now())
            )
        deadline = monotonic() + DELETION_SECONDS
        while monotonic() < deadline and await self._endpoints.exists(endpoint_id):
            await asyncio.sleep(DELETION_POLL_SECONDS)

    async def get(self, caller: Principal, endpoint_id: str) -> EndpointDocument:
        """One endpoint. Raises ApiError 404."""
        return await self._owned(caller, endpoint_id, _endpoint_not_found(endpoint_id))

    async def list(
        self, caller: Principal, name: str | None, order: ModelEndpointOrderBy | None
    ) -> list[EndpointDocument]:
        """The caller's endpoints."""
        return await self._endpoints.list(caller.owner, name, order)

    async def _owned(self, caller: Principal, endpoint_id: str, not_found: ApiError) -> EndpointDocument:
        document = await self._endpoints.find_owned(caller.owner, endpoint_id)
        if document is None:
            raise not_found
        return document

    async def _change(
        self,
        caller: Principal,
        endpoint_id: str,
        not_found: ApiError,
        edit: Callable[[EndpointDocument], Edit],
    ) -> EndpointDocument:
        """Apply `edit` to the document as it is, again when somebody else was faster. The document before the edit."""
        for attempt in range(ATTEMPTS):
            document = await self._owned(caller, endpoint_id, not_found)
            if document.deletion_requested:
                raise ApiError(
                    409, "Existing operation on endpoint in progress, try again later.", "deletion_in_progress"
                )
            change = edit(document)
            events = [history_event(data, document.owner) for data in change.events]
            if await self._endpoints.edit(document, change.fields, events):
                return document
            await asyncio.sleep(backoff(attempt, 0.005, 0.1))
        raise ApiError(
            503, f"Endpoint {endpoint_id} is being changed too often. Please retry.", "contention", {"retry-after": "1"}
        )


def _endpoint_not_found(endpoint_id: str) -> ApiError:
    return ApiError(404, f"Model Endpoint {endpoint_id}  was not found.", "endpoint_not_found")


def _change_id() -> str:
    """Clients expect an id of the change; an endpoint's status is what tells about it."""
    return str(uuid4())
