"""The secrets that sign callbacks: one per owner, made when the owner asks for it and shown that once."""

from typing import Any

from model_engine_chassis.standard_webhooks import new_secret

CALLBACK_SECRETS = "callback_secrets"


class CallbackSecrets:
    """The collection `callback_secrets`: every query."""

    def __init__(self, database: Any) -> None:
        self._secrets = database[CALLBACK_SECRETS]

    async def renew(self, owner: str) -> str:
        """A new secret; from now on it signs the callbacks of this owner, instead of the one before."""
        secret = new_secret()
        await self._secrets.update_one({"_id": owner}, {"$set": {"secret": secret}}, upsert=True)
        return secret

    async def find(self, owner: str) -> str | None:
        """The owner's secret; without one, callbacks are not signed."""
        found = await self._secrets.find_one({"_id": owner})
        return None if found is None else str(found["secret"])
