"""Callbacks on the wire: what the owner of a receiver needs to verify them."""

from pydantic import BaseModel


class CreateCallbackSecretResponse(BaseModel):
    """The new secret (Standard Webhooks) that signs the owner's callbacks; one made before signs none any more."""

    secret: str
