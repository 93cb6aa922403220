"""The document that describes how an owner's endpoints are called."""

import json
from typing import Any

from model_engine_gateway.bundles import Bundles
from model_engine_gateway.control.json_body import parse_json
from model_engine_gateway.domain.bundles import ARTIFACT_SCHEME
from model_engine_gateway.domain.endpoint_schemas import (
    ANY_JSON,
    DescribedEndpoint,
    schemas_document,
    schemas_of_bundle,
)
from model_engine_gateway.endpoints import Endpoints
from model_engine_gateway.principals import Principal
from model_engine_gateway.repositories.artifacts import ArtifactRepository

MAX_SCHEMA_BYTES = 256 << 10
"""A larger file is not read: the endpoint is described as taking and giving any JSON."""


class EndpointSchemas:
    """Describes endpoints by the schemas that lie where their bundles say (`schema_location`, an uploaded artifact)."""

    def __init__(self, endpoints: Endpoints, bundles: Bundles, artifacts: ArtifactRepository) -> None:
        self._endpoints = endpoints
        self._bundles = bundles
        self._artifacts = artifacts

    async def document(self, caller: Principal) -> dict[str, Any]:
        """OpenAPI of all endpoints of the caller."""
        endpoints = await self._endpoints.list(caller, None, None)
        locations = await self._bundles.schema_locations(caller, {found.spec.bundle.id for found in endpoints})
        schemas = {location: await self._schemas(caller, location) for location in set(locations.values())}
        return schemas_document(
            DescribedEndpoint(
                endpoint.id,
                endpoint.name,
                endpoint.spec.endpoint_type,
                schemas.get(locations.get(endpoint.spec.bundle.id, ""), ANY_JSON),
            )
            for endpoint in endpoints
        )

    async def _schemas(self, caller: Principal, location: str) -> dict[str, dict[str, Any]]:
        artifact_id = location.removeprefix(ARTIFACT_SCHEME)
        artifact = await self._artifacts.find(artifact_id) if location.startswith(ARTIFACT_SCHEME) else None
        if artifact is None or artifact.owner != caller.owner or artifact.size > MAX_SCHEMA_BYTES:
            return ANY_JSON
        content = b"".join([piece async for piece in self._artifacts.read(artifact_id)])
        try:
            return schemas_of_bundle(parse_json(content))
        except json.JSONDecodeError:
            return ANY_JSON
