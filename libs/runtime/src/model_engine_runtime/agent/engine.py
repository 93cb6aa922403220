"""What the agent does with calls: checks them, makes them durable, hands them to those who act."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable

from model_engine_runtime.agent.backend import Backend
from model_engine_runtime.agent.checks import MAX_REPLICAS, check_environment, check_want
from model_engine_runtime.agent.endpoint_workers import Collaborators, EndpointWorkers
from model_engine_runtime.agent.preparations import Preparations
from model_engine_runtime.agent.records import AgentRecord, applied
from model_engine_runtime.agent.store import Store
from model_engine_runtime.errors import (
    EnvironmentNotReady,
    InvalidRequest,
    StaleGeneration,
    UnknownEndpoint,
)
from model_engine_runtime.protocol import Environment, Preparation, Snapshot, WorkerSet

log = logging.getLogger(__name__)

SETTLE_SECONDS = 2.0


class Engine:
    """The runtime of one host. `changed` and `gone` tell the watch about an endpoint."""

    def __init__(
        self,
        store: Store,
        backend: Backend,
        preparations: Preparations,
        *,
        changed: Callable[[str], None],
        gone: Callable[[str], None],
    ) -> None:
        self.endpoints: dict[str, EndpointWorkers] = {}
        self.preparations = preparations
        self._store, self._backend, self._gone = store, backend, gone
        self._shared = Collaborators(backend, store, preparations.ref_of, changed)
        self._record = AgentRecord()
        self._recording = asyncio.Lock()
        self._applying: Counter[str] = Counter()
        self._tasks: asyncio.TaskGroup | None = None

    def load(self) -> None:
        """Read what an earlier agent knew."""
        self._record = self._store.load_agent()
        self.preparations.load()
        for record in self._store.load_sets():
            self.endpoints[record.want.endpoint_id] = EndpointWorkers(record, self._shared)

    async def run(self) -> None:
        """Keep everything as it is wished, as long as the agent runs."""
        known = {worker.id for workers in self.endpoints.values() for worker in workers.record.workers}
        await self._backend.clear_strangers(frozenset(known))
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for workers in list(self.endpoints.values()):
                tasks.create_task(self._keep(workers))
            tasks.create_task(self._backend.background())
            tasks.create_task(self.preparations.run())

    async def settle(self) -> None:
        """Wait until adopted workers have been seen once, two seconds at most: a restart of the agent must not make
        those who watch believe that READY workers had gone.
        """
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                while self._tasks is None:
                    await asyncio.sleep(0.01)
                for workers in list(self.endpoints.values()):
                    await workers.settle()
        except TimeoutError:
            return

    def snapshot(self) -> Snapshot:
        """Everything, now."""
        return Snapshot(
            installation=self._record.installation,
            sets=tuple(workers.state for workers in self.endpoints.values()),
            preparations=tuple(self.preparations.known.values()),
        )

    async def prepare(self, environment: Environment) -> Preparation:
        """See Runtime.prepare."""
        check_environment(environment)
        return await self.preparations.prepare(environment)

    async def release(self, key: str) -> None:
        """See Runtime.release."""
        in_use = set(+self._applying)
        for workers in self.endpoints.values():
            in_use |= workers.record.environment_keys
        await self.preparations.release(key, in_use)

    async def apply(self, want: WorkerSet) -> None:
        """See Runtime.apply."""
        check_want(want)
        if want.endpoint_id in self._record.gone:
            raise StaleGeneration(f"{want.endpoint_id} is deleted")
        if self.preparations.ref_of(want.environment_key) is None:
            raise EnvironmentNotReady(f"environment {want.environment_key} is not prepared")
        self._applying[want.environment_key] += 1
        try:
            await self._write(lambda record: record.claimed_by(want.installation, empty=not self.endpoints))
            workers = self.endpoints.get(want.endpoint_id)
            if workers is None:
                await self._create(want)
            else:
                await workers.apply(want)
        finally:
            self._applying[want.environment_key] -= 1

    async def scale(self, endpoint_id: str, replicas: int, epoch: int) -> None:
        """See Runtime.scale."""
        if not 0 <= replicas <= MAX_REPLICAS:
            raise InvalidRequest(f"replicas must be from 0 to {MAX_REPLICAS}, not {replicas}")
        await self._write(lambda record: record.led_by(epoch))
        workers = self.endpoints.get(endpoint_id)
        if workers is None or workers.record.deleting:
            raise UnknownEndpoint(f"no workers of {endpoint_id}")
        if workers.record.replicas != replicas:
            await workers.scale(replicas)

    async def delete(self, endpoint_id: str, generation: int) -> None:
        """See Runtime.delete."""
        workers = self.endpoints.get(endpoint_id)
        if workers is not None:
            await workers.delete(generation)
            return
        await self._write(lambda record: record.with_gone(endpoint_id, generation))
        self._gone(endpoint_id)

    async def _create(self, want: WorkerSet) -> None:
        assert self._tasks is not None
        workers = EndpointWorkers(applied(None, want, time.time()), self._shared)
        # Known before the first await, so that a second apply meets it.
        self.endpoints[want.endpoint_id] = workers
        try:
            await workers.begin()
        except OSError:
            del self.endpoints[want.endpoint_id]
            raise
        self._tasks.create_task(self._keep(workers))

    async def _keep(self, workers: EndpointWorkers) -> None:
        await workers.run()
        generation = workers.record.want.generation
        try:
            await self._write(lambda record: record.with_gone(workers.endpoint_id, generation))
        except OSError as error:
            log.error("a deletion is not remembered", extra={"endpoint": workers.endpoint_id, "error": str(error)})
        del self.endpoints[workers.endpoint_id]
        self._gone(workers.endpoint_id)

    async def _write(self, change: Callable[[AgentRecord], AgentRecord]) -> None:
        async with self._recording:
            record = change(self._record)
            if record != self._record:
                await self._store.save_agent(record)
                self._record = record
