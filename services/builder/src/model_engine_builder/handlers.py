"""An event in, a name in the queue: what is to be done is read from the database, not from the event."""

from typing import Any

from model_engine_builder.work_queue import WorkQueue
from model_engine_contracts.events import Event


async def on_endpoint_event(queue: WorkQueue, event: Event[Any]) -> None:
    """The desired state of an endpoint has changed. Should this process die now, a resync finds it."""
    queue.add(event.data.entity_id)
