"""What the administrator can do with API keys."""

from collections.abc import Awaitable, Callable

from model_engine_contracts.api.api_keys import ApiKeyResponse, CreateApiKeyRequest, CreateApiKeyResponse
from model_engine_contracts.events import ApiKeyCreated, ApiKeyRevoked
from model_engine_contracts.ids import new_id
from model_engine_gateway.clock import now
from model_engine_gateway.domain.field_rules import check_text
from model_engine_gateway.errors import ApiError
from model_engine_gateway.events import history_event
from model_engine_gateway.principals import key_hash, new_key
from model_engine_gateway.repositories.api_keys import ApiKeyRepository


class ApiKeys:
    """Creates, lists and revokes keys. `broadcast` tells every gateway the id of a revoked key."""

    def __init__(self, keys: ApiKeyRepository, broadcast: Callable[[str], Awaitable[None]]) -> None:
        self._keys = keys
        self._broadcast = broadcast

    async def create(self, request: CreateApiKeyRequest) -> CreateApiKeyResponse:
        """Make a key. Raises Invalid."""
        check_text(owner=request.owner, user=request.user)
        key, key_id = new_key(), new_id("key")
        await self._keys.insert(
            key_id=key_id,
            key_hash=key_hash(key),
            owner=request.owner,
            user=request.user or request.owner,
            created_at=now(),
            event=history_event(ApiKeyCreated(key_id=key_id), request.owner),
        )
        return CreateApiKeyResponse(id=key_id, key=key, owner=request.owner)

    async def all(self) -> list[ApiKeyResponse]:
        """Every key, revoked ones included."""
        return [
            ApiKeyResponse(
                id=key["_id"],
                owner=key["owner"],
                user=key["user"],
                created_at=key["created_at"],
                revoked_at=key["revoked_at"],
            )
            for key in await self._keys.all()
        ]

    async def revoke(self, key_id: str) -> None:
        """Revoke a key; one that is revoked stays so. Raises ApiError 404."""
        key = await self._keys.find(key_id)
        if key is None:
            raise ApiError(404, f"API key {key_id} was not found.", "api_key_not_found")
        await self._keys.revoke(key_id, history_event(ApiKeyRevoked(key_id=key_id), key["owner"]))
        await self._broadcast(key_id)
