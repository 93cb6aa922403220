"""What the administrator can do with API keys."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from model_engine_contracts.api.api_keys import (
    ALL_SCOPES,
    AccessScope,
    ApiKeyResponse,
    CreateApiKeyRequest,
    CreateApiKeyResponse,
    RotateApiKeyRequest,
    RotateApiKeyResponse,
)
from model_engine_contracts.events import ApiKeyCreated, ApiKeyRevoked, ApiKeyRotated
from model_engine_contracts.ids import new_id
from model_engine_gateway.clock import now
from model_engine_gateway.domain.field_rules import check_text
from model_engine_gateway.errors import ApiError
from model_engine_gateway.events import history_event
from model_engine_gateway.principals import key_hash, new_key
from model_engine_gateway.repositories.api_keys import ApiKey, ApiKeyRepository


class ApiKeys:
    """Creates, lists, rotates and revokes keys. `broadcast` tells every gateway the id of a key that changed."""

    def __init__(self, keys: ApiKeyRepository, broadcast: Callable[[str], Awaitable[None]]) -> None:
        self._keys = keys
        self._broadcast = broadcast

    async def create(self, request: CreateApiKeyRequest) -> CreateApiKeyResponse:
        """Make a key. Raises Invalid."""
        check_text(owner=request.owner, user=request.user)
        created_at = now()
        key = ApiKey(
            id=new_id("key"),
            owner=request.owner,
            user=request.user or request.owner,
            scopes=sorted(set(request.scopes)),
            privileged=request.privileged,
            created_at=created_at,
            expires_at=_end(created_at, request.expires_in_seconds),
        )
        secret = await self._insert(key)
        return CreateApiKeyResponse(
            id=key.id, key=secret, owner=key.owner, scopes=list(key.scopes), expires_at=key.expires_at
        )

    async def rotate(self, key_id: str, request: RotateApiKeyRequest) -> RotateApiKeyResponse:
        """Make a key like this one, which ends after the overlap or when it would have ended, whichever is sooner.

        The new key is stored first: dying in between leaves one more key that nobody has. Raises ApiError 404 and 409.
        """
        old = await self._find(key_id)
        rotated_at = now()
        if old["revoked_at"] is not None or (old.get("expires_at") or rotated_at) < rotated_at:
            raise ApiError(
                409, f"API key {key_id} is revoked or has expired. Create a new key instead.", "api_key_inactive"
            )
        key = ApiKey(
            id=new_id("key"),
            owner=old["owner"],
            user=old["user"],
            scopes=[AccessScope(scope) for scope in old.get("scopes", ALL_SCOPES)],
            privileged=old.get("privileged", True),
            created_at=rotated_at,
            expires_at=_end(rotated_at, request.expires_in_seconds),
        )
        secret = await self._insert(key)
        ends = rotated_at + timedelta(seconds=request.overlap_seconds)
        if old.get("expires_at") is not None:
            ends = min(ends, old["expires_at"])
        event = history_event(ApiKeyRotated(key_id=key_id, replaced_by=key.id, expires_at=ends), key.owner)
        if not await self._keys.expire(key_id, old["version"], ends, event):
            await self.revoke(key.id)
            raise ApiError(409, f"API key {key_id} is being changed by somebody else. Please retry.", "contention")
        await self._broadcast(key_id)
        return RotateApiKeyResponse(
            id=key.id,
            key=secret,
            owner=key.owner,
            scopes=list(key.scopes),
            expires_at=key.expires_at,
            replaces=key_id,
            replaced_expires_at=ends,
        )

    async def all(self) -> list[ApiKeyResponse]:
        """Every key, revoked and expired ones included."""
        return [ApiKeyResponse(id=key["_id"], **_known(key)) for key in await self._keys.all()]

    async def revoke(self, key_id: str) -> None:
        """Revoke a key; one that is revoked stays so. Raises ApiError 404."""
        key = await self._find(key_id)
        await self._keys.revoke(key_id, history_event(ApiKeyRevoked(key_id=key_id), key["owner"]))
        await self._broadcast(key_id)

    async def _find(self, key_id: str) -> dict[str, Any]:
        key = await self._keys.find(key_id)
        if key is None:
            raise ApiError(404, f"API key {key_id} was not found.", "api_key_not_found")
        return key

    async def _insert(self, key: ApiKey) -> str:
        secret = new_key()
        await self._keys.insert(key, key_hash(secret), history_event(ApiKeyCreated(key_id=key.id), key.owner))
        return secret


def _end(start: datetime, seconds: int | None) -> datetime | None:
    return None if seconds is None else start + timedelta(seconds=seconds)


def _known(key: dict[str, Any]) -> dict[str, Any]:
    """What the wire says of a stored key; keys made before there were scopes have all of them."""
    return {name: key[name] for name in ApiKeyResponse.model_fields if name in key}
