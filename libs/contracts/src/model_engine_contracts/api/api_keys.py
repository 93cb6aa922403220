"""API keys on the wire; only the administrator's token opens these routes."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field

MAX_LIFETIME_SECONDS = 10 * 365 * 86_400
MAX_OVERLAP_SECONDS = 30 * 86_400


class AccessScope(StrEnum):
    """What a key opens. No scope includes another."""

    READ = "read"
    INVOKE = "invoke"
    MANAGE = "manage"


ALL_SCOPES = tuple(AccessScope)


class CreateApiKeyRequest(BaseModel):
    """A key for an owner. `user` is the creator recorded on what the key makes; null: the owner.

    Without `expires_in_seconds` the key is valid until it is revoked. A key that is not `privileged` cannot create
    bundles that bring an image of their own.
    """

    owner: str = Field(min_length=1, max_length=255)
    user: str | None = Field(default=None, min_length=1, max_length=255)
    scopes: list[AccessScope] = Field(default=list(ALL_SCOPES), min_length=1, max_length=16)
    expires_in_seconds: int | None = Field(default=None, gt=0, le=MAX_LIFETIME_SECONDS)
    privileged: bool = True


class CreateApiKeyResponse(BaseModel):
    """The key itself, shown this once; only its hash is kept."""

    id: str
    key: str
    owner: str
    scopes: list[AccessScope] = Field(default=list(ALL_SCOPES))
    expires_at: datetime | None = None


class RotateApiKeyRequest(BaseModel):
    """Both keys are valid for `overlap_seconds`, then the old one expires; 0 ends it at once.

    The new key lives for `expires_in_seconds`; null: until it is revoked.
    """

    overlap_seconds: int = Field(ge=0, le=MAX_OVERLAP_SECONDS)
    expires_in_seconds: int | None = Field(default=None, gt=0, le=MAX_LIFETIME_SECONDS)


class RotateApiKeyResponse(CreateApiKeyResponse):
    """The new key, of the same owner, user, scopes and privilege; and when the old one ends."""

    replaces: str
    replaced_expires_at: datetime


class ApiKeyResponse(BaseModel):
    """What is known of a key."""

    id: str
    owner: str
    user: str
    created_at: datetime
    revoked_at: datetime | None = None
    scopes: list[AccessScope] = Field(default=list(ALL_SCOPES))
    privileged: bool = True
    expires_at: datetime | None = None


class ListApiKeysResponse(BaseModel):
    """All keys, revoked and expired ones included."""

    api_keys: list[ApiKeyResponse]


class RevokeApiKeyResponse(BaseModel):
    """The key is refused everywhere within a second."""

    revoked: bool
