"""The states of an endpoint: our phases, the five statuses of the wire, and how one maps onto the other."""

from enum import StrEnum


class EndpointType(StrEnum):
    """How an endpoint is called."""

    ASYNC = "async"
    SYNC = "sync"
    STREAMING = "streaming"


class WireStatus(StrEnum):
    """The statuses that clients know. No other value may ever appear in an answer."""

    READY = "READY"
    UPDATE_PENDING = "UPDATE_PENDING"
    UPDATE_IN_PROGRESS = "UPDATE_IN_PROGRESS"
    UPDATE_FAILED = "UPDATE_FAILED"
    DELETE_IN_PROGRESS = "DELETE_IN_PROGRESS"


class Phase(StrEnum):
    """Where an endpoint stands, finer than the wire.

    PENDING: recorded. PREPARING: its environment is being built. ROLLING_OUT: workers are starting. READY: a worker
    answers (or the autoscaler took the endpoint to zero). RECOVERING: it was ready, workers are wanted and none
    answers. FAILED: this generation does not work, or its workers crash in a loop. DELETING: going away.
    """

    PENDING = "PENDING"
    PREPARING = "PREPARING"
    ROLLING_OUT = "ROLLING_OUT"
    READY = "READY"
    RECOVERING = "RECOVERING"
    FAILED = "FAILED"
    DELETING = "DELETING"


WIRE_STATUS: dict[Phase, WireStatus] = {
    Phase.PENDING: WireStatus.UPDATE_PENDING,
    Phase.PREPARING: WireStatus.UPDATE_PENDING,
    Phase.ROLLING_OUT: WireStatus.UPDATE_IN_PROGRESS,
    Phase.READY: WireStatus.READY,
    Phase.RECOVERING: WireStatus.UPDATE_IN_PROGRESS,
    Phase.FAILED: WireStatus.UPDATE_FAILED,
    Phase.DELETING: WireStatus.DELETE_IN_PROGRESS,
}
"""The wire status of each phase."""
