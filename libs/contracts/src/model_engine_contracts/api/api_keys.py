"""API keys on the wire; only the administrator's token opens these routes."""

from datetime import datetime

from pydantic import BaseModel, Field


class CreateApiKeyRequest(BaseModel):
    """A key for an owner. `user` is the creator recorded on what the key makes; null: the owner."""

    owner: str = Field(min_length=1, max_length=255)
    user: str | None = Field(default=None, min_length=1, max_length=255)


class CreateApiKeyResponse(BaseModel):
    """The key itself, shown this once; only its hash is kept."""

    id: str
    key: str
    owner: str


class ApiKeyResponse(BaseModel):
    """What is known of a key."""

    id: str
    owner: str
    user: str
    created_at: datetime
    revoked_at: datetime | None = None


class ListApiKeysResponse(BaseModel):
    """All keys, revoked ones included."""

    api_keys: list[ApiKeyResponse]


class RevokeApiKeyResponse(BaseModel):
    """The key is refused everywhere within a second."""

    revoked: bool
