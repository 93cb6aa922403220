"""The operations that plain ASGI routes serve, declared for the OpenAPI document and for redirects and 405s alone."""

from typing import Annotated, Any, NoReturn

from fastapi import APIRouter, Query, Response

from model_engine_contracts.api.tasks import (
    CreateAsyncTaskV1Response,
    EndpointPredictV1Request,
    GetAsyncTaskV1Response,
    SyncEndpointPredictV1Request,
    SyncEndpointPredictV1Response,
)

HEALTH_PATHS = ("/healthcheck", "/healthz", "/readyz")

EndpointId = Annotated[str, Query(description="id of the endpoint")]
WaitSeconds = Annotated[
    float, Query(ge=0, description="seconds to wait for the end, 60 at most; also `Prefer: wait=N`")
]


class ServedElsewhere(Exception):
    """A request reached a declaration: the dispatch by path is wrong."""


def add_documented_routes(router: APIRouter) -> None:
    """Declare predictions, tasks and health."""

    @router.post("/v1/async-tasks", response_model=CreateAsyncTaskV1Response)
    async def create_async_inference_task(model_endpoint_id: EndpointId, request: EndpointPredictV1Request) -> NoReturn:
        """Queues a task for an async endpoint."""
        raise ServedElsewhere

    @router.get("/v1/async-tasks/{task_id}", response_model=GetAsyncTaskV1Response)
    async def get_async_inference_task(task_id: str, wait: WaitSeconds = 0) -> NoReturn:
        """Gets the state and the result of a task, if wanted once it has ended."""
        raise ServedElsewhere

    @router.post("/v1/sync-tasks", response_model=SyncEndpointPredictV1Response)
    async def create_sync_inference_task(
        model_endpoint_id: EndpointId, request: SyncEndpointPredictV1Request
    ) -> NoReturn:
        """Calls a sync or streaming endpoint and waits for the answer."""
        raise ServedElsewhere

    @router.post("/v1/streaming-tasks", response_model=None)
    async def create_streaming_inference_task(
        model_endpoint_id: EndpointId, request: SyncEndpointPredictV1Request
    ) -> NoReturn:
        """Calls a streaming endpoint; the answer is a stream of server-sent events."""
        raise ServedElsewhere

    async def healthcheck() -> Response:
        """Answers 200 while the gateway can serve."""
        raise ServedElsewhere

    for path in HEALTH_PATHS:
        router.get(path, response_model=None, openapi_extra={"security": []})(healthcheck)


def secured(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document with the two ways to send a key, on every operation that does not say otherwise."""
    document.setdefault("components", {})["securitySchemes"] = {
        "HTTPBasic": {"type": "http", "scheme": "basic"},
        "OAuth2PasswordBearer": {"type": "oauth2", "flows": {"password": {"scopes": {}, "tokenUrl": "token"}}},
    }
    for path in document["paths"].values():
        for operation in path.values():
            if operation.setdefault("security", [{"HTTPBasic": []}, {"OAuth2PasswordBearer": []}]) == []:
                del operation["security"]
    return document
