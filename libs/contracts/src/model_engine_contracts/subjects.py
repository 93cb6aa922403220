"""The subjects of NATS: where each event is published and what each purpose listens to."""

from typing import Any

from model_engine_contracts.envelope import Event
from model_engine_contracts.ids import is_subject_id, owner_token

HISTORY_ROOT = "me"
"""What users may subscribe to: `me.<owner>.<aggregate>.<id>.<verb>.v<major>`, written by the gateway's relay only."""

FACT_ROOT = "mesys"
"""Facts between services: `mesys.<aggregate>.<id>.<verb>.v<major>`."""

TASK_ROOT = "metasks"
RESULT_ROOT = "meresults"

DEMAND_SUBJECT = "mecore.demand"
"""Core NATS: each gateway reports the concurrency of its endpoints here once a second."""

KEY_REVOKED_SUBJECT = "mecore.api-key.revoked"
"""Core NATS: the id of a revoked API key, so that every gateway forgets it at once."""

DEAD_LETTER_SUBJECTS = (
    "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>",
    "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>",
)


def subject_of(event: Event[Any]) -> str:
    """The subject an event is published to.

    Raises ValueError where the entity's id cannot stand in a subject, or a history event has no owner.
    """
    data = event.data
    entity = data.entity_id
    if not is_subject_id(entity):
        raise ValueError(f"{data.ENTITY}={entity!r} cannot stand in a subject: use only a-z, 0-9, _ and -")
    tail = f"{data.AGGREGATE}.{entity}.{data.VERB}.v{data.MAJOR}"
    if not data.HISTORY:
        return f"{FACT_ROOT}.{tail}"
    if event.owner is None:
        raise ValueError(f"{event.type} is a history event and needs an owner")
    return f"{HISTORY_ROOT}.{owner_token(event.owner)}.{tail}"


def facts(aggregate: str, verb: str = "*", entity: str = "*", major: int = 1) -> str:
    """A filter over facts, for example `mesys.rollout.*.succeeded.v1`."""
    return f"{FACT_ROOT}.{aggregate}.{entity}.{verb}.v{major}"


def history(owner: str | None = None, aggregate: str = "*", entity: str = "*", verb: str = "*", major: int = 1) -> str:
    """A filter over the history of one owner, or of all."""
    return f"{HISTORY_ROOT}.{'*' if owner is None else owner_token(owner)}.{aggregate}.{entity}.{verb}.v{major}"


def task_subject(endpoint_id: str) -> str:
    """The queue of an async endpoint: one subject of the stream TASKS."""
    return f"{TASK_ROOT}.{endpoint_id}"


def result_subject(endpoint_id: str) -> str:
    """Where the workers of an endpoint publish what became of its tasks: one subject of the stream RESULTS."""
    return f"{RESULT_ROOT}.{endpoint_id}"


def wake_subject(endpoint_id: str) -> str:
    """Core NATS: a request waits for a worker of this endpoint; repeated every 200 ms until there is one."""
    return f"mecore.wake.{endpoint_id}"


def task_cancelled_subject(endpoint_id: str) -> str:
    """Core NATS: a task of this endpoint was cancelled; the worker that runs it stops."""
    return f"mecore.task-cancelled.{endpoint_id}"


def logs_subject(endpoint_id: str) -> str:
    """Core NATS request: a builder streams the logs of this endpoint to the reply subject."""
    return f"mecore.logs.{endpoint_id}"
