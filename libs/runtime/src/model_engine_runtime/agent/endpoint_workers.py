"""All workers of one endpoint, kept as they are wished: level-triggered, one step after every change."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from model_engine_contracts.failures import Reason
from model_engine_contracts.ids import new_id
from model_engine_runtime.agent.backend import Backend
from model_engine_runtime.agent.planning import plan
from model_engine_runtime.agent.records import SetRecord, WorkerRecord, applied, deleted, progressed
from model_engine_runtime.agent.store import Store
from model_engine_runtime.agent.supervisor import Supervisor
from model_engine_runtime.protocol import Failure, SetState, Worker, WorkerSet, WorkerState

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
FAILURES_WITH_LOG = 8


@dataclass(frozen=True, slots=True)
class Collaborators:
    """What all endpoints of an agent share. `ref_of` gives the place of an environment, `changed` tells the watch."""

    backend: Backend
    store: Store
    ref_of: Callable[[str], str | None]
    changed: Callable[[str], None]


class EndpointWorkers:
    """One endpoint's workers. Wishes are durable before they are acted upon."""

    def __init__(self, record: SetRecord, shared: Collaborators) -> None:
        self.record = record
        self.endpoint_id = record.want.endpoint_id
        self._shared = shared
        self._supervisors: dict[str, Supervisor] = {}
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._removed = False

    @property
    def state(self) -> SetState:
        """What the watch says of this endpoint."""
        record = self.record
        return SetState(
            endpoint_id=self.endpoint_id,
            generation=record.want.generation,
            revision=record.want.revision,
            replicas=record.replicas,
            workers=_bounded(self.workers),
            failure=self._failure(),
            created_at=record.created_at,
            deleting=record.deleting,
        )

    @property
    def workers(self) -> list[Worker]:
        """Every worker, oldest first."""
        return [supervisor.worker for supervisor in self._supervisors.values()]

    def supervisor(self, worker_id: str) -> Supervisor | None:
        """The supervisor of one worker."""
        return self._supervisors.get(worker_id)

    async def begin(self) -> None:
        """Make a new endpoint durable, and known also where it gets no worker. Raises OSError."""
        async with self._writing:
            await self._shared.store.save_set(self.record)
        self._changed()

    async def apply(self, want: WorkerSet) -> None:
        """Take a template. Raises StaleGeneration."""
        await self._change(lambda record: applied(record, want, time.time()))
        await self._shared.backend.write_secrets(want)

    async def scale(self, replicas: int) -> None:
        """Take a number of workers."""
        await self._change(lambda record: record if record.deleting else replace(record, replicas=replicas))

    async def delete(self, generation: int) -> None:
        """Take the wish to be gone. Raises StaleGeneration."""
        await self._change(lambda record: deleted(record, generation))

    async def settle(self) -> None:
        """Wait until each adopted worker has been seen once."""
        for supervisor in list(self._supervisors.values()):
            await supervisor.settled.wait()

    async def run(self) -> None:
        """Keep the workers as wished; return when the endpoint is deleted and nothing of it is left."""
        async with asyncio.TaskGroup() as tasks:
            for worker in self.record.workers:
                self._supervise(tasks, worker, adopt=worker.run > 0)
            while not await self._step(tasks):
                await self._wake.wait()
                self._wake.clear()

    async def _step(self, tasks: asyncio.TaskGroup) -> bool:
        try:
            if self.record.deleting:
                return await self._remove()
            await self._reconcile(tasks)
        except OSError as error:
            log.error("cannot act on an endpoint's workers", extra={"endpoint": self.endpoint_id, "error": str(error)})
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._wake.set)
        return False

    async def _reconcile(self, tasks: asyncio.TaskGroup) -> None:
        await self._change(lambda record: progressed(record, self.workers))
        record = self.record
        previous = record.previous.revision if record.previous else None
        step = plan(self.workers, revision=record.want.revision, previous=previous, replicas=record.replicas)
        for worker_id in step.drain:
            self._supervisors[worker_id].drain()
        if step.start and self._shared.backend.refusal(record.want) is None:
            want = record.want
            for _ in range(step.start):
                worker = WorkerRecord(new_id("wrk"), want.revision, want.environment_key)
                await self._save_worker(worker)
                self._supervise(tasks, worker, adopt=False)

    async def _remove(self) -> bool:
        for supervisor in self._supervisors.values():
            supervisor.drain()
        if self._supervisors:
            return False
        await self._shared.backend.clear_endpoint(self.endpoint_id)
        async with self._writing:
            await self._shared.store.remove_set(self.endpoint_id)
            self._removed = True
        return True

    def _supervise(self, tasks: asyncio.TaskGroup, record: WorkerRecord, *, adopt: bool) -> None:
        template = self.record.template(record.revision)
        supervisor = Supervisor(
            record,
            template or self.record.want,
            self._shared.ref_of(record.environment_key) or "",
            self._shared.backend,
            save=self._save_worker,
            changed=self._changed,
        )
        self._supervisors[record.id] = supervisor
        if template is None or self.record.deleting:
            supervisor.drain()
        tasks.create_task(self._run_worker(supervisor, record.id, adopt=adopt))
        self._shared.changed(self.endpoint_id)

    async def _run_worker(self, supervisor: Supervisor, worker_id: str, *, adopt: bool) -> None:
        await supervisor.run(adopt=adopt)
        while not await self._forget(worker_id):
            await asyncio.sleep(RETRY_SECONDS)

    async def _forget(self, worker_id: str) -> bool:
        try:
            await self._shared.backend.clear(self.endpoint_id, worker_id)
            await self._change(lambda record: record.without_worker(worker_id))
        except OSError as error:
            log.error("cannot remove a worker's files", extra={"worker": worker_id, "error": str(error)})
            return False
        # Last, since the endpoint's own file is removed as soon as no worker is left.
        del self._supervisors[worker_id]
        self._changed()
        return True

    async def _save_worker(self, worker: WorkerRecord) -> None:
        await self._change(lambda record: record.with_worker(worker))

    async def _change(self, change: Callable[[SetRecord], SetRecord]) -> None:
        async with self._writing:
            before, record = self.record, change(self.record)
            if record is before or self._removed:
                return
            await self._shared.store.save_set(record)
            self.record = record
        self._wake.set()
        if _visible(record) != _visible(before):
            self._shared.changed(self.endpoint_id)

    def _changed(self) -> None:
        self._wake.set()
        self._shared.changed(self.endpoint_id)

    def _failure(self) -> Failure | None:
        if self.record.replicas == 0 or self.record.deleting:
            return None
        if (refusal := self._shared.backend.refusal(self.record.want)) is not None:
            return refusal
        workers = [worker for worker in self.workers if worker.revision == self.record.want.revision]
        if any(worker.state is WorkerState.READY for worker in workers):
            return None
        failures = [worker.failure for worker in workers if worker.failure is not None]
        looping = [failure for failure in failures if failure.reason is Reason.CRASH_LOOP]
        return next(iter(looping or failures), None)


def _visible(record: SetRecord) -> tuple[object, ...]:
    """What of a record is seen in the watch, beside the workers."""
    return record.want.generation, record.want.revision, record.replicas, record.deleting


def _bounded(workers: list[Worker]) -> tuple[Worker, ...]:
    """The workers with the log lines of the first few failures only: one message of NATS has to hold them all."""
    failed = [worker.id for worker in workers if worker.failure is not None][:FAILURES_WITH_LOG]
    return tuple(
        worker
        if worker.failure is None or worker.id in failed
        else replace(worker, failure=replace(worker.failure, log_tail=""))
        for worker in workers
    )
