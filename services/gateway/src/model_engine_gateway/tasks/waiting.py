"""Waiting for the end of a task: woken by what this gateway writes, and within half a second by what others wrote."""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pymongo.errors import PyMongoError

from model_engine_gateway.tasks.repository import TaskRepository

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
"""One query for all waiting requests together."""


class Waiting:
    """The requests of this process that wait for tasks."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._closed = False

    @contextmanager
    def watch(self, task_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when the task may have ended. Watch first, then read where the task stands."""
        woken = asyncio.Event()
        if self._closed:
            woken.set()
        self._waiting.setdefault(task_id, set()).add(woken)
        try:
            yield woken
        finally:
            watchers = self._waiting[task_id]
            watchers.discard(woken)
            if not watchers:
                del self._waiting[task_id]

    def wake(self, task_ids: Iterable[str]) -> None:
        """These tasks may have ended."""
        for task_id in task_ids:
            for woken in self._waiting.get(task_id, ()):
                woken.set()

    @property
    def closed(self) -> bool:
        """Whether nobody may wait any more."""
        return self._closed

    def close(self) -> None:
        """The process drains: everybody answers with what there is."""
        self._closed = True
        self.wake(self._waiting)

    async def run(self, tasks: TaskRepository) -> None:
        """Look for ends that other gateways wrote, until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if not self._waiting:
                continue
            try:
                self.wake(await tasks.ended(list(self._waiting)))
            except PyMongoError as error:
                log.warning("tasks that are waited for could not be read: %r", error)
