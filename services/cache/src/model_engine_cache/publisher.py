"""Tells the other services: the whole set of an endpoint's workers, and each worker that became ready or was lost."""

import asyncio
from collections.abc import Sequence

from nats.js import JetStreamContext

from model_engine_cache.domain import worker_facts
from model_engine_chassis.publish import publish_event
from model_engine_contracts.events import EndpointObserved, new_event

SOURCE = "cache"


class ObservationPublisher:
    """`announced` is what was published last of each endpoint, to begin with by a predecessor: the facts about single
    workers are the differences from it.

    A repetition after an error has the same ids, so it is stored once. Raises an ExceptionGroup of what publish_event
    raises.
    """

    def __init__(self, js: JetStreamContext, announced: dict[str, EndpointObserved]) -> None:
        self._js = js
        self.announced = announced

    async def publish(self, observations: Sequence[EndpointObserved]) -> None:
        """Publish observations of different endpoints, at the same time."""
        async with asyncio.TaskGroup() as group:
            for observed in observations:
                group.create_task(self._publish(observed))

    async def _publish(self, observed: EndpointObserved) -> None:
        before = self.announced.get(observed.endpoint_id)
        # The id says which change is told, counted from what was told before: later, newer states do not alter it.
        base = "new" if before is None else f"{before.epoch}.{before.counter}"
        for fact in worker_facts(before, observed):
            event_id = f"{observed.endpoint_id}:{getattr(fact, 'worker_id', '')}:{fact.VERB}:{base}"
            await publish_event(self._js, new_event(fact, source=SOURCE, event_id=event_id))
        event_id = f"{observed.endpoint_id}:observed:{observed.epoch}.{observed.counter}"
        await publish_event(self._js, new_event(observed, source=SOURCE, event_id=event_id))
        if observed.gone:
            self.announced.pop(observed.endpoint_id, None)
        else:
            self.announced[observed.endpoint_id] = observed
