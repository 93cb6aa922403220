"""The log of an endpoint as plain text."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from model_engine_contracts.logs import LogRequest
from model_engine_gateway.control.live_streams import LiveStreams
from model_engine_gateway.control.routing import Caller
from model_engine_gateway.endpoint_logs import EndpointLogs
from model_engine_gateway.endpoints import Endpoints

TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The log as text", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


def add_log_routes(router: APIRouter, endpoints: Endpoints, logs: EndpointLogs, streams: LiveStreams) -> None:
    """The build's and the workers' log."""

    @router.get("/v1/model-endpoints/{model_endpoint_id}/logs", responses=TEXT, response_class=Response)
    async def get_model_endpoint_logs(
        model_endpoint_id: str,
        caller: Caller,
        source: Annotated[Literal["build", "worker"], Query(description="whose log")] = "worker",
        worker: Annotated[str | None, Query(description="one worker by its id; absent: all of them")] = None,
        previous: Annotated[bool, Query(description="of the worker's process before the last restart")] = False,
        follow: Annotated[bool, Query(description="go on with what is written")] = False,
    ) -> Response:
        """Reads the log of an endpoint's build or of its workers."""
        endpoint = await endpoints.get(caller, model_endpoint_id)
        request = LogRequest(endpoint_id=endpoint.id, source=source, worker=worker, previous=previous, follow=follow)
        streams.admit()
        return streams.respond(await logs.open(request), "text/plain; charset=utf-8")
