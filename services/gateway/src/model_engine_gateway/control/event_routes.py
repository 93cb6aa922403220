"""The history as server-sent events: everything of an owner, or what concerns one endpoint."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from model_engine_chassis.history import History, HistoryRecord
from model_engine_gateway.control.live_streams import LiveStreams
from model_engine_gateway.control.routing import Caller
from model_engine_gateway.endpoints import Endpoints
from model_engine_gateway.principals import Principal

HEARTBEAT = b": heartbeat\n\n"
EVENT_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}

LastEventId = Annotated[
    int | None, Header(ge=0, description="position after which to begin; absent: with what happens next")
]
Follow = Annotated[bool, Query(description="go on with what happens; false: end where the history ends")]
Types = Annotated[list[str] | None, Query(alias="type", description="only events of these types")]


def add_event_routes(router: APIRouter, history: History, endpoints: Endpoints, streams: LiveStreams) -> None:
    """`/v1/events` and the events of one endpoint."""

    @router.get("/v1/events", responses=EVENT_STREAM, response_class=Response)
    async def stream_events(
        caller: Caller, last_event_id: LastEventId = None, follow: Follow = True, types: Types = None
    ) -> Response:
        """Streams the caller's history; `id` is the position to resume after."""
        return await _stream(caller, None, last_event_id, follow, types)

    @router.get("/v1/model-endpoints/{model_endpoint_id}/events", responses=EVENT_STREAM, response_class=Response)
    async def stream_model_endpoint_events(
        model_endpoint_id: str,
        caller: Caller,
        last_event_id: LastEventId = None,
        follow: Follow = True,
        types: Types = None,
    ) -> Response:
        """Streams the history of one endpoint, its tasks included; also of one that is deleted."""
        if not await history.read(caller.owner, 0, 1, endpoint_id=model_endpoint_id):
            await endpoints.get(caller, model_endpoint_id)
        return await _stream(caller, model_endpoint_id, last_event_id, follow, types)

    async def _stream(
        caller: Principal, endpoint_id: str | None, last_event_id: int | None, follow: bool, types: list[str] | None
    ) -> Response:
        streams.admit()
        if follow:
            after = await history.last_position() if last_event_id is None else last_event_id
            pieces = _followed(caller.owner, after, endpoint_id, types)
        else:
            pieces = _kept(caller.owner, last_event_id or 0, endpoint_id, types)
        return streams.respond(pieces, "text/event-stream; charset=utf-8", heartbeat=HEARTBEAT)

    async def _followed(
        owner: str, after: int, endpoint_id: str | None, types: list[str] | None
    ) -> AsyncGenerator[bytes, None]:
        async with aclosing(history.follow(owner, after, endpoint_id=endpoint_id, types=types)) as records:
            async for record in records:
                yield _frame(record)

    async def _kept(
        owner: str, after: int, endpoint_id: str | None, types: list[str] | None
    ) -> AsyncGenerator[bytes, None]:
        while page := await history.read(owner, after, endpoint_id=endpoint_id, types=types):
            for record in page:
                yield _frame(record)
            after = page[-1].position


def _frame(record: HistoryRecord) -> bytes:
    """One event; its JSON has no line ends."""
    return f"id: {record.position}\nevent: {record.type}\ndata: {record.text}\n\n".encode()
