"""The routes of endpoints."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Response

from model_engine_contracts.api.endpoints import (
    CreateModelEndpointV1Request,
    CreateModelEndpointV1Response,
    DeleteModelEndpointV1Response,
    GetModelEndpointV1Response,
    ListModelEndpointRevisionsV1Response,
    ListModelEndpointsV1Response,
    ModelEndpointOrderBy,
    RestartModelEndpointV1Response,
    RollbackModelEndpointV1Request,
    RollbackModelEndpointV1Response,
    UpdateModelEndpointV1Request,
    UpdateModelEndpointV1Response,
)
from model_engine_contracts.documents import EndpointDocument
from model_engine_gateway.control.routing import Caller, answer
from model_engine_gateway.domain.endpoint_view import endpoint_view
from model_engine_gateway.domain.revisions import revision_views
from model_engine_gateway.endpoints import Endpoints

QueueDepths = Callable[[list[EndpointDocument]], Awaitable[dict[str, int]]]
"""How many tasks wait or run, by the id of an async endpoint; an endpoint whose depth is not known is left out."""


def add_endpoint_routes(router: APIRouter, endpoints: Endpoints, queue_depths: QueueDepths) -> None:
    """Create, list, get, update, delete, restart, go back to an older generation."""

    @router.post("/v1/model-endpoints", response_model=CreateModelEndpointV1Response)
    async def create_model_endpoint(request: CreateModelEndpointV1Request, caller: Caller) -> Response:
        """Creates a model endpoint; follow its status to see when it is ready."""
        return answer(CreateModelEndpointV1Response(endpoint_creation_task_id=await endpoints.create(caller, request)))

    @router.get("/v1/model-endpoints", response_model=ListModelEndpointsV1Response)
    async def list_model_endpoints(
        caller: Caller, name: str | None = None, order_by: ModelEndpointOrderBy | None = None
    ) -> Response:
        """Lists the caller's model endpoints."""
        found = await endpoints.list(caller, name, order_by)
        depths = await queue_depths(found)
        views = [endpoint_view(endpoint, depths.get(endpoint.id)) for endpoint in found]
        return answer(ListModelEndpointsV1Response(model_endpoints=views))

    @router.get("/v1/model-endpoints/{model_endpoint_id}", response_model=GetModelEndpointV1Response)
    async def get_model_endpoint(model_endpoint_id: str, caller: Caller) -> Response:
        """Gets one model endpoint."""
        endpoint = await endpoints.get(caller, model_endpoint_id)
        depths = await queue_depths([endpoint])
        return answer(endpoint_view(endpoint, depths.get(endpoint.id)))

    @router.put("/v1/model-endpoints/{model_endpoint_id}", response_model=UpdateModelEndpointV1Response)
    async def update_model_endpoint(
        model_endpoint_id: str, request: UpdateModelEndpointV1Request, caller: Caller
    ) -> Response:
        """Changes a model endpoint: what is missing or null stays as it is."""
        change_id = await endpoints.update(caller, model_endpoint_id, request)
        return answer(UpdateModelEndpointV1Response(endpoint_creation_task_id=change_id))

    @router.delete("/v1/model-endpoints/{model_endpoint_id}", response_model=DeleteModelEndpointV1Response)
    async def delete_model_endpoint(model_endpoint_id: str, caller: Caller) -> Response:
        """Deletes a model endpoint and waits until its workers are gone, nine seconds at most."""
        await endpoints.delete(caller, model_endpoint_id)
        return answer(DeleteModelEndpointV1Response(deleted=True))

    @router.post("/v1/model-endpoints/{model_endpoint_id}/restart", response_model=RestartModelEndpointV1Response)
    async def restart_model_endpoint(model_endpoint_id: str, caller: Caller) -> Response:
        """Replaces the workers of a model endpoint one after the other."""
        await endpoints.restart(caller, model_endpoint_id)
        return answer(RestartModelEndpointV1Response(restarted=True))

    @router.get(
        "/v1/model-endpoints/{model_endpoint_id}/revisions", response_model=ListModelEndpointRevisionsV1Response
    )
    async def list_model_endpoint_revisions(model_endpoint_id: str, caller: Caller) -> Response:
        """Lists the last generations of a model endpoint, newest first, with what each changed."""
        endpoint = await endpoints.get(caller, model_endpoint_id)
        return answer(ListModelEndpointRevisionsV1Response(revisions=revision_views(endpoint)))

    @router.post("/v1/model-endpoints/{model_endpoint_id}/rollback", response_model=RollbackModelEndpointV1Response)
    async def rollback_model_endpoint(
        model_endpoint_id: str, caller: Caller, request: RollbackModelEndpointV1Request | None = None
    ) -> Response:
        """Makes an older generation the desired state again, as a new generation."""
        done = await endpoints.rollback(caller, model_endpoint_id, request.generation if request else None)
        return answer(
            RollbackModelEndpointV1Response(
                endpoint_creation_task_id=done.change_id, generation=done.generation, rolled_back_to=done.restored
            )
        )
