"""The states of a task, and what clients read for each."""

from enum import StrEnum

from model_engine_contracts.api.tasks import TaskStatus


class TaskState(StrEnum):
    """Where a task stands, finer than the wire. A task is open while QUEUED or STARTED; every other state is final.

    EXPIRED: not run in time. CANCELLED: by its owner, or its endpoint was deleted. REJECTED: refused because the queue
    was full.
    """

    QUEUED = "QUEUED"
    STARTED = "STARTED"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"


OPEN_STATES = (TaskState.QUEUED, TaskState.STARTED)
"""The states of a task that has not ended."""

WIRE_STATUS: dict[TaskState, TaskStatus] = {
    TaskState.QUEUED: TaskStatus.PENDING,
    TaskState.STARTED: TaskStatus.STARTED,
    TaskState.SUCCESS: TaskStatus.SUCCESS,
    TaskState.FAILURE: TaskStatus.FAILURE,
    TaskState.EXPIRED: TaskStatus.UNDEFINED,
    TaskState.CANCELLED: TaskStatus.UNDEFINED,
    TaskState.REJECTED: TaskStatus.UNDEFINED,
}
"""The wire status of each state."""


def states_of(status: TaskStatus) -> list[TaskState]:
    """The states that clients read as this status."""
    return [state for state, wire in WIRE_STATUS.items() if wire is status]
