"""The audit trail: history events. One for every request that asked for a change, whatever became of it."""

from typing import ClassVar

from model_engine_contracts.envelope import EventData


class AuditRecorded(EventData):
    """Who asked for which change, from where, and how it was answered.

    `requested_by` is the user of the key `key_id`; `client_address` is the peer of the connection, which may be a
    proxy; `request_id` is the answer's header x-request-id; `status` is the HTTP status of the answer.
    """

    AGGREGATE: ClassVar[str] = "audit"
    VERB: ClassVar[str] = "recorded"
    ENTITY: ClassVar[str] = "request_id"
    HISTORY: ClassVar[bool] = True

    request_id: str
    requested_by: str
    key_id: str
    client_address: str | None = None
    method: str
    path: str
    status: int
