"""From the runtime's watch to the queue: whose turn a change makes it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from prometheus_client import Gauge
from pymongo.errors import PyMongoError

from model_engine_builder.clock import now
from model_engine_builder.domain.view import RuntimeView
from model_engine_builder.reconciler import Reconciler
from model_engine_builder.repository import RolloutRepository
from model_engine_builder.work_queue import WorkQueue
from model_engine_runtime.following import follow
from model_engine_runtime.protocol import Change, Gone, Preparation, PrepState, Runtime, SetState, Snapshot

log = logging.getLogger(__name__)

RETRY_SECONDS = 2.0

AVAILABLE = Gauge("modelengine_builder_runtime_available", "1 while the runtime's watch is open.")


@dataclass(frozen=True, slots=True)
class Watching:
    """Keeps the view up to date. `resync` is called after a whole picture, when anything may have changed."""

    runtime: Runtime
    view: RuntimeView
    reconciler: Reconciler
    environments: WorkQueue
    rollouts: RolloutRepository
    resync: Callable[[], None]

    async def run(self) -> NoReturn:
        """Watch for ever."""
        await follow(self.runtime, self._on_item, self._on_trouble)

    async def run_environments(self) -> NoReturn:
        """Find the endpoints that wait for an environment that is done or gone."""
        while True:
            key = await self.environments.get()
            try:
                for endpoint_id in await self.rollouts.endpoints_in(key):
                    self.reconciler.queue.add(endpoint_id)
            except PyMongoError as error:
                log.warning("endpoints of an environment not found", extra={"key": key, "error": repr(error)})
                self.environments.add_after(key, RETRY_SECONDS)
            finally:
                self.environments.done(key)

    async def check(self) -> None:
        """Raises while the runtime is not seen."""
        if self.view.trouble is not None:
            raise RuntimeError(self.view.trouble)

    def _on_item(self, item: Snapshot | Change) -> None:
        was_environment = isinstance(item, Gone) and item.id in self.view.preparations
        self.view.record(item, now())
        AVAILABLE.set(self.view.trouble is None)
        match item:
            case Snapshot():
                self.resync()
            case SetState():
                if self.reconciler.settled.get(item.endpoint_id) != item.generation:
                    self.reconciler.queue.add(item.endpoint_id)
            case Preparation():
                if item.state in (PrepState.READY, PrepState.FAILED):
                    self.environments.add(item.key)
            case Gone():
                if was_environment:
                    self.environments.add(item.id)
                else:
                    self.reconciler.queue.add(item.id)

    def _on_trouble(self, trouble: str) -> None:
        self.view.report_trouble(trouble, now())
        AVAILABLE.set(0)
