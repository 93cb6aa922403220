"""The route that makes the secret which signs an owner's callbacks."""

from fastapi import APIRouter, Response

from model_engine_contracts.api.callbacks import CreateCallbackSecretResponse
from model_engine_gateway.control.routing import Caller, answer
from model_engine_gateway.hooks.secrets import CallbackSecrets


def add_callback_routes(router: APIRouter, secrets: CallbackSecrets) -> None:
    """Make a secret."""

    @router.post("/v1/callback-secret", response_model=CreateCallbackSecretResponse)
    async def create_callback_secret(caller: Caller) -> Response:
        """Makes the secret that signs the caller's callbacks from now on; it is in this answer only."""
        return answer(CreateCallbackSecretResponse(secret=await secrets.renew(caller.owner)))
