"""Making the gateway's own events: source, owner and trace filled in."""

from model_engine_chassis import trace
from model_engine_contracts.envelope import DataT, Event, new_event

SOURCE = "gateway"


def history_event(data: DataT, owner: str) -> Event[DataT]:
    """An event for the history of `owner`, in the trace of the work under way."""
    context = trace.current()
    return new_event(data, source=SOURCE, owner=owner, traceparent=context.traceparent if context else None)
