"""The audit trail: every request that asks a control route for a change is recorded before its answer leaves.

The record is an event in the history of the caller's owner; what the administrator does is in the history of the owner
`$administrator`. Reads are not recorded, and neither is what nobody in particular asked for (401).
"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from uuid import uuid4

from pymongo.errors import PyMongoError

from model_engine_chassis.asgi_server import AsgiApp, Receive, Scope, Send
from model_engine_chassis.outbox import outbox_entry
from model_engine_contracts.events import AuditRecorded, Event
from model_engine_gateway.access import PRINCIPAL, SAFE_METHODS
from model_engine_gateway.events import history_event
from model_engine_gateway.principals import Principal

log = logging.getLogger(__name__)

AUDIT = "audit"
REQUEST_ID = "model_engine.request_id"
MAX_PATH = 1024

Record = Callable[[Event[AuditRecorded]], Awaitable[None]]


class Audited:
    """An ASGI app around the control routes: gives each request its id, and records the changes with `record`.

    Who asks is what `Admission` left in the ASGI scope.
    """

    def __init__(self, app: AsgiApp, record: Record) -> None:
        self._app = app
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request_id = scope[REQUEST_ID] = str(uuid4())

        async def recorded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
                if scope["method"] not in SAFE_METHODS and (principal := scope.get(PRINCIPAL)) is not None:
                    await self._tell(scope, principal, message["status"])
            await send(message)

        await self._app(scope, receive, recorded)

    async def _tell(self, scope: Scope, principal: Principal, status: int) -> None:
        event = AuditRecorded(
            request_id=scope[REQUEST_ID],
            requested_by=principal.user,
            key_id=principal.key_id,
            client_address=scope["client"][0] if scope.get("client") else None,
            method=scope["method"],
            path=scope["path"][:MAX_PATH],
            status=status,
        )
        log.info("a change was requested", extra={"owner": principal.owner, **event.model_dump()})
        try:
            await self._record(history_event(event, principal.owner))
        except PyMongoError as error:
            # The change is made: an answer that hides it would be worse. The line above is the record then.
            log.error("an audit record could not be stored: %r", error, extra={"request_id": event.request_id})


class AuditRepository:
    """The collection `audit`: an outbox and nothing else; the relay removes a record once it is in the history."""

    def __init__(self, database: Any) -> None:
        self._records = database[AUDIT]

    async def add(self, event: Event[AuditRecorded]) -> None:
        """Store a record for the history."""
        await self._records.insert_one(
            {"_id": event.data.request_id, "version": 1, "tombstone": True, "outbox": [outbox_entry(event)]}
        )
