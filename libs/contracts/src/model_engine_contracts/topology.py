"""The streams and durable consumers of JetStream, as data. The chassis applies them; services only bind."""

from dataclasses import dataclass
from typing import Literal

from model_engine_contracts.subjects import DEAD_LETTER_SUBJECTS, FACT_ROOT, HISTORY_ROOT, RESULT_ROOT, TASK_ROOT

DAY = 86_400.0
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One stream. Ages and windows in seconds, sizes in bytes; -1 means without a limit."""

    name: str
    subjects: tuple[str, ...]
    retention: Literal["limits", "workqueue"]
    max_age: float = 0.0
    max_bytes: int = -1
    max_msg_size: int = 8 * MIB
    max_msgs_per_subject: int = -1
    discard: Literal["old", "new"] = "old"
    discard_new_per_subject: bool = False
    duplicate_window: float = 120.0
    allow_msg_ttl: bool = False
    max_consumers: int = 20_000
    description: str = ""


EVENTS = StreamSpec(
    name="EVENTS",
    subjects=(f"{HISTORY_ROOT}.>", f"{FACT_ROOT}.>"),
    retention="limits",
    max_age=7 * DAY,
    max_bytes=4096 * MIB,
    duplicate_window=600.0,
    description="What happened: the users' history and the facts between services.",
)

TASKS = StreamSpec(
    name="TASKS",
    subjects=(f"{TASK_ROOT}.*",),
    retention="workqueue",
    max_msgs_per_subject=100_000,
    discard="new",
    discard_new_per_subject=True,
    allow_msg_ttl=True,
    description="Queued async tasks, one subject and one durable per endpoint.",
)

RESULTS = StreamSpec(
    name="RESULTS",
    subjects=(f"{RESULT_ROOT}.*",),
    retention="workqueue",
    max_age=DAY,
    max_bytes=4096 * MIB,
    description="What became of tasks, on its way to the gateway.",
)

DLQ = StreamSpec(
    name="DLQ",
    subjects=DEAD_LETTER_SUBJECTS,
    retention="limits",
    max_age=7 * DAY,
    max_bytes=256 * MIB,
    description="Advisories about messages that no consumer could process.",
)

STREAMS = (EVENTS, TASKS, RESULTS, DLQ)

MAX_DELIVER = 8
"""Deliveries of one lifecycle event before it is a dead letter (delays 0.5·2ⁿ seconds, about a minute in all)."""

TASK_MAX_DELIVER = 5
"""Deliveries of one async task before it is a dead letter."""

TASK_ACK_WAIT = 30.0
"""Seconds after which a task of a dead worker is delivered again; a living worker keeps it with in-progress signals."""


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """One durable pull consumer. `ack_wait` in seconds."""

    stream: str
    durable: str
    subjects: tuple[str, ...]
    ack_wait: float = 30.0
    max_deliver: int = MAX_DELIVER
    max_ack_pending: int = 1000


GATEWAY_STATUS = ConsumerSpec("EVENTS", "gateway-status", (f"{FACT_ROOT}.>",))
"""Facts that change an endpoint's status; shared by all gateways."""

GATEWAY_RESULTS = ConsumerSpec("RESULTS", "gateway-results", (f"{RESULT_ROOT}.*",), max_ack_pending=10_000)
"""Results of tasks; shared by all gateways."""

GATEWAY_DEAD_LETTERS = ConsumerSpec("DLQ", "gateway-dead-letters", DEAD_LETTER_SUBJECTS)

BUILDER_ENDPOINTS = ConsumerSpec(
    "EVENTS",
    "builder-endpoints",
    tuple(f"{HISTORY_ROOT}.*.endpoint.*.{verb}.v1" for verb in ("requested", "updated", "deletion-requested")),
)
"""Desired-state events; shared by all builders. A handler only enqueues the endpoint's id."""

SERVICE_CONSUMERS = (GATEWAY_STATUS, GATEWAY_RESULTS, GATEWAY_DEAD_LETTERS, BUILDER_ENDPOINTS)


def task_consumer(endpoint_id: str, concurrency: int, max_workers: int) -> ConsumerSpec:
    """The durable of one async endpoint. It admits twice what all its workers may run at once."""
    return ConsumerSpec(
        stream=TASKS.name,
        durable=task_durable(endpoint_id),
        subjects=(f"{TASK_ROOT}.{endpoint_id}",),
        ack_wait=TASK_ACK_WAIT,
        max_deliver=TASK_MAX_DELIVER,
        max_ack_pending=max(16, 2 * concurrency * max(1, max_workers)),
    )


def task_durable(endpoint_id: str) -> str:
    """The name of the durable consumer of an async endpoint's queue."""
    return f"workers-{endpoint_id}"
