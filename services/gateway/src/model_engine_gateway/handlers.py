"""Facts of the other services become the status of endpoints, and with it history."""

from typing import Any

from model_engine_contracts.events import Event
from model_engine_gateway.clock import now
from model_engine_gateway.domain.status import apply_fact
from model_engine_gateway.events import history_event
from model_engine_gateway.repositories.endpoints import EndpointRepository

ATTEMPTS = 20


class Contention(Exception):
    """Others changed the document at every attempt; the fact is to come again later."""


async def on_fact(endpoints: EndpointRepository, event: Event[Any]) -> None:
    """Apply one fact to its endpoint, once, however often it comes. Raises Contention.

    Status, history events and the memory of the fact are one write: dying before it changes nothing, and after it the
    fact that comes again is recognised.
    """
    for _ in range(ATTEMPTS):
        stored = await endpoints.find_stored(event.data.endpoint_id)
        if stored is None or event.id in stored.applied_facts:
            return
        document = stored.document
        change = apply_fact(document, event.data, now())
        if change is None:
            return
        fields: dict[str, Any] = {"status": change.status.model_dump(), "tombstone": change.tombstone}
        said = [history_event(data, document.owner) for data in change.events]
        if await endpoints.edit_for_fact(stored, event.id, fields, said):
            return
    raise Contention(event.data.endpoint_id)
