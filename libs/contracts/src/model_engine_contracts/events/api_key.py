"""API keys: history events. The key itself is never in an event."""

from datetime import datetime
from typing import ClassVar

from model_engine_contracts.envelope import EventData


class _ApiKeyHistory(EventData):
    AGGREGATE: ClassVar[str] = "api-key"
    ENTITY: ClassVar[str] = "key_id"
    HISTORY: ClassVar[bool] = True

    key_id: str


class ApiKeyCreated(_ApiKeyHistory):
    """A key of this owner was created."""

    VERB: ClassVar[str] = "created"


class ApiKeyRotated(_ApiKeyHistory):
    """A key of this owner is replaced by another and ends at `expires_at`."""

    VERB: ClassVar[str] = "rotated"

    replaced_by: str
    expires_at: datetime


class ApiKeyRevoked(_ApiKeyHistory):
    """A key of this owner was revoked."""

    VERB: ClassVar[str] = "revoked"
