"""Stored results on the wire."""

from pydantic import BaseModel, Field


class StoreResultResponse(BaseModel):
    """A result that a worker has sent. Clients read it at `result_url`; `size` in bytes."""

    result_id: str
    result_url: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)
