"""Messages that nobody could process: a task among them fails, with its history; others are an operator's business."""

import logging
from dataclasses import replace

from pydantic import ValidationError

from model_engine_chassis.dead_letters import DeadLetter
from model_engine_contracts.events import TaskSubmitted, parse_event
from model_engine_contracts.topology import TASKS, task_durable
from model_engine_gateway.clock import now
from model_engine_gateway.tasks import metrics
from model_engine_gateway.tasks.repository import TaskRepository
from model_engine_gateway.tasks.task import TaskRef, dead_letter

log = logging.getLogger(__name__)


async def on_dead_letter(tasks: TaskRepository, letter: DeadLetter) -> None:
    """End the task of a dead letter; once it has ended this changes nothing. The watcher then deletes the message."""
    metrics.DEAD_LETTERS.labels(letter.stream).inc()
    log.error(
        "dead letter",
        extra={
            "stream": letter.stream,
            "consumer": letter.consumer,
            "sequence": letter.sequence,
            "deliveries": letter.deliveries,
            "reason": letter.reason,
        },
    )
    if letter.stream != TASKS.name:
        return
    task = await _task_of(tasks, letter)
    if task is not None:
        await tasks.apply([dead_letter(task, letter.deliveries, letter.reason, now())])


async def _task_of(tasks: TaskRepository, letter: DeadLetter) -> TaskRef | None:
    """The open task whose message this is: by the message itself, or by its place where the server dropped it."""
    if letter.data is not None:
        try:
            submitted = parse_event(letter.data).data
        except ValidationError:
            submitted = None
        if isinstance(submitted, TaskSubmitted):
            task = await tasks.find_open({"_id": submitted.task_id})
            # The attempt that died is the message's: a newer one of the same task goes on.
            return replace(task, attempt=submitted.attempt) if task is not None else None
    endpoint_id = letter.consumer.removeprefix(task_durable(""))
    return await tasks.find_open({"endpoint_id": endpoint_id, "sequence": letter.sequence})
