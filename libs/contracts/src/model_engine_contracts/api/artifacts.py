"""Uploaded artifacts on the wire."""

from pydantic import BaseModel, Field


class CreateArtifactResponse(BaseModel):
    """Where the upload is: put `location` into a bundle. `size` in bytes."""

    location: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)
