"""The routes of API keys, for the administrator."""

from fastapi import APIRouter, Response

from model_engine_contracts.api.api_keys import (
    CreateApiKeyRequest,
    CreateApiKeyResponse,
    ListApiKeysResponse,
    RevokeApiKeyResponse,
    RotateApiKeyRequest,
    RotateApiKeyResponse,
)
from model_engine_gateway.api_keys import ApiKeys
from model_engine_gateway.control.routing import answer


def add_api_key_routes(router: APIRouter, keys: ApiKeys) -> None:
    """Create, list, rotate, revoke. Their path lets only the administrator in."""

    @router.post("/v1/admin/api-keys", response_model=CreateApiKeyResponse)
    async def create_api_key(request: CreateApiKeyRequest) -> Response:
        """Creates an API key; the key is in this answer only."""
        return answer(await keys.create(request))

    @router.get("/v1/admin/api-keys", response_model=ListApiKeysResponse)
    async def list_api_keys() -> Response:
        """Lists all API keys, revoked and expired ones included."""
        return answer(ListApiKeysResponse(api_keys=await keys.all()))

    @router.post("/v1/admin/api-keys/{api_key_id}/rotate", response_model=RotateApiKeyResponse)
    async def rotate_api_key(api_key_id: str, request: RotateApiKeyRequest) -> Response:
        """Makes a key like this one, which ends after the overlap."""
        return answer(await keys.rotate(api_key_id, request))

    @router.delete("/v1/admin/api-keys/{api_key_id}", response_model=RevokeApiKeyResponse)
    async def revoke_api_key(api_key_id: str) -> Response:
        """Revokes an API key; every gateway refuses it within a second."""
        await keys.revoke(api_key_id)
        return answer(RevokeApiKeyResponse(revoked=True))
