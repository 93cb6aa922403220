"""Tells the other services: the whole set of an endpoint's workers, and each worker that became ready or was lost."""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Any

from nats.errors import MaxPayloadError
from nats.js import JetStreamContext

from model_engine_cache.domain import worker_facts
from model_engine_chassis.publish import publish_event
from model_engine_contracts.events import EndpointObserved, Event, new_event

log = logging.getLogger(__name__)

SOURCE = "cache"


class ObservationPublisher:
    """`announced` is what was published last of each endpoint, to begin with by a predecessor: the facts about single
    workers are the differences from it.

    A repetition after an error has the same ids, so it is stored once.
    """

    def __init__(self, js: JetStreamContext, announced: dict[str, EndpointObserved]) -> None:
        self._js = js
        self.announced = announced

    async def publish(self, observations: Sequence[EndpointObserved]) -> None:
        """Publish observations of different endpoints, at the same time. Raises what publish_event raises."""
        await _all(*map(self._publish, observations))

    async def _publish(self, observed: EndpointObserved) -> None:
        try:
            await self._tell(observed)
        except MaxPayloadError:
            # No repetition can help; readers of Redis still get it.
            log.error("too many workers for one event", extra={"endpoint": observed.endpoint_id})
        if observed.gone:
            self.announced.pop(observed.endpoint_id, None)
        else:
            self.announced[observed.endpoint_id] = observed

    async def _tell(self, observed: EndpointObserved) -> None:
        before = self.announced.get(observed.endpoint_id)
        # The id says which change is told, counted from what was told before: later, newer states do not alter it.
        base = "new" if before is None else f"{before.epoch}.{before.counter}"
        told = f"{observed.endpoint_id}:observed:{observed.epoch}.{observed.counter}"
        events: list[Event[Any]] = [new_event(observed, source=SOURCE, event_id=told)]
        for fact in worker_facts(before, observed):
            event_id = f"{observed.endpoint_id}:{getattr(fact, 'worker_id', '')}:{fact.VERB}:{base}"
            events.append(new_event(fact, source=SOURCE, event_id=event_id))
        # The whole set goes first: routes depend on it.
        await _all(*(publish_event(self._js, event) for event in events))


async def _all(*sendings: Awaitable[object]) -> None:
    """Wait for all, then raise the first error."""
    for result in await asyncio.gather(*sendings, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
