"""The routes that describe how the caller's endpoints are called."""

import json
from typing import Any

from fastapi import APIRouter, Response
from fastapi.openapi.docs import get_redoc_html

from model_engine_gateway.control.routing import Caller
from model_engine_gateway.endpoint_schemas import EndpointSchemas

DOCUMENT_PATH = "/v1/model-endpoints-schema.json"
HTML: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}


def add_endpoint_schema_routes(router: APIRouter, schemas: EndpointSchemas) -> None:
    """The document, and a page that shows it."""

    @router.get(DOCUMENT_PATH, response_model=None)
    async def get_model_endpoints_schema(caller: Caller) -> Response:
        """Describes the caller's endpoints as an OpenAPI document."""
        document = await schemas.document(caller)
        return Response(json.dumps(document, separators=(",", ":")), media_type="application/json")

    @router.get("/v1/model-endpoints-api", response_class=Response, responses=HTML)
    async def get_model_endpoints_api(caller: Caller) -> Response:
        """Shows that document as a page."""
        return get_redoc_html(openapi_url=DOCUMENT_PATH, title="Model Endpoints Documentation")
