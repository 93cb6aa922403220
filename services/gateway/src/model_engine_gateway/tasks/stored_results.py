"""Results of tasks that no message could hold: read into the answer up to a bound, beyond it named by an address."""

import json
from typing import Any

from model_engine_contracts.events.task import StoredResult
from model_engine_gateway.errors import ApiError
from model_engine_gateway.repositories.results import ResultRepository
from model_engine_gateway.result_addresses import ResultAddresses


class StoredResults:
    """`max_inline_bytes` is the largest that is read into an answer."""

    def __init__(self, results: ResultRepository, addresses: ResultAddresses | None, max_inline_bytes: int) -> None:
        self._results = results
        self._addresses = addresses
        self._max_inline_bytes = max_inline_bytes

    async def of_task(self, found: dict[str, Any] | None) -> bytes | None:
        """The JSON of a task's stored result, or of `{"result_url": …}`; None where it has none.

        Raises ApiError and PyMongoError.
        """
        if not found or not found.get("stored_result"):
            return None
        stored = StoredResult.model_validate(found["stored_result"])
        if stored.size <= self._max_inline_bytes:
            file = await self._results.find(stored.id)
            if file is not None:
                return b"".join([piece async for piece in self._results.read(file)])
        if self._addresses is None:
            raise ApiError(
                503,
                "The result is stored, but this gateway has no ME_GATEWAY_URL to read it from.",
                "result_unreadable",
            )
        return json.dumps({"result_url": self._addresses.content(stored.id)}).encode()
