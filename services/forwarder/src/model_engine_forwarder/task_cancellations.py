"""Tasks that their owner does not want any more: those that run stop, those that are still to come are not run."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from nats.aio.msg import Msg
from pydantic import ValidationError

from model_engine_contracts.cancellation import CancelledTask
from model_engine_contracts.events import TaskSubmitted

REMEMBERED = 1000
"""Cancellations that are known of tasks which have not come: their message was on its way, or goes from a dead worker
to this one."""

log = logging.getLogger(__name__)


class RunCancelled(Exception):
    """The task was cancelled: nobody waits for its outcome."""


class Cancellations:
    """What one worker knows of cancelled tasks of its endpoint."""

    def __init__(self) -> None:
        self._cancelled: OrderedDict[str, int] = OrderedDict()
        self._running: dict[asyncio.Task[object], TaskSubmitted] = {}

    async def hear(self, message: Msg) -> None:
        """Stop the runs of a cancelled task, and remember it."""
        try:
            cancelled = CancelledTask.model_validate_json(message.data)
        except ValidationError as error:
            log.warning("a cancellation was not readable", extra={"cause": str(error.errors(include_input=False))})
            return
        attempt = max(cancelled.attempt, self._cancelled.pop(cancelled.task_id, 0))
        self._cancelled[cancelled.task_id] = attempt
        if len(self._cancelled) > REMEMBERED:
            self._cancelled.popitem(last=False)
        for run, task in self._running.items():
            if self._concerns(task) and not run.cancelling():
                run.cancel()

    @contextmanager
    def running(self, task: TaskSubmitted) -> Iterator[None]:
        """The block runs the task: a cancellation ends it with RunCancelled."""
        if self._concerns(task):
            raise RunCancelled(task.task_id)
        run = asyncio.current_task()
        assert run is not None
        self._running[run] = task
        try:
            yield
        except asyncio.CancelledError:
            if self._concerns(task) and run.uncancel() == 0:
                raise RunCancelled(task.task_id) from None
            raise
        finally:
            del self._running[run]

    def _concerns(self, task: TaskSubmitted) -> bool:
        """A later attempt is one that was asked for after the cancellation."""
        return task.attempt <= self._cancelled.get(task.task_id, 0)
