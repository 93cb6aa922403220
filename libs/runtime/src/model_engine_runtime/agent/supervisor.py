"""The life of one worker: start or adopt, follow, start again with backoff, drain."""

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from model_engine_contracts.failures import Reason
from model_engine_runtime.agent.backend import Backend, Exited, Ready, Run, RunEnded, RunEvent, RunId, Unready
from model_engine_runtime.agent.records import WorkerRecord
from model_engine_runtime.agent.restarts import Restarts
from model_engine_runtime.protocol import Failure, Worker, WorkerSet, WorkerState

log = logging.getLogger(__name__)

FAILED_STOP_SECONDS = 5.0
"""What a worker that is given up may still take to finish its calls."""


class Supervisor:
    """Keeps one worker running until it is told to drain. `worker` is its state for others.

    Cancelling `run` leaves the worker alive: the next agent adopts it.
    """

    def __init__(
        self,
        record: WorkerRecord,
        want: WorkerSet,
        ref: str,
        backend: Backend,
        *,
        save: Callable[[WorkerRecord], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        self.worker = Worker(record.id, record.revision, WorkerState.PENDING, restarts=max(0, record.run - 1))
        self.settled = asyncio.Event()
        self._record, self._want, self._ref = record, want, ref
        self._backend, self._save, self._changed = backend, save, changed
        self._restarts = Restarts()
        self._ready_since: float | None = None
        self._draining = asyncio.Event()
        self._mailbox: asyncio.Queue[RunEvent | None] = asyncio.Queue()

    @property
    def run_id(self) -> RunId:
        """The present run."""
        return RunId(self._want.endpoint_id, self._record.id, self._record.run)

    def drain(self) -> None:
        """Let the worker finish and end."""
        if not self._draining.is_set():
            self._draining.set()
            self._mailbox.put_nowait(None)
            self._show(WorkerState.DRAINING, address=self.worker.address)

    async def run(self, *, adopt: bool) -> None:
        """Return when the worker has been drained and no process of it is left."""
        if adopt:
            await self._live(self._backend.adopt(self.run_id, self._want))
        self.settled.set()
        while not self._draining.is_set():
            await self._live(self._start())

    async def _live(self, begin: Awaitable[Run]) -> None:
        try:
            run = await begin
        except RunEnded as ended:
            failure = ended.failure and self._count_exit(ended.failure)
        except OSError as error:
            reason = Reason.DISK_FULL if error.errno == errno.ENOSPC else Reason.EXITED
            failure = self._count_exit(Failure(reason, f"The worker cannot be started: {error}"))
        else:
            failure = await self._follow(run)
            if failure is not None:
                self._show(WorkerState.BACKOFF, failure=failure)
            await run.stop(self._want.drain_s if failure is None else FAILED_STOP_SECONDS)
        if failure is not None:
            self._show(WorkerState.BACKOFF, failure=failure)
            await self._back_off()

    async def _start(self) -> Run:
        self._record = replace(self._record, run=self._record.run + 1)
        await self._save(self._record)
        self._show(WorkerState.STARTING, failure=self.worker.failure)
        return await self._backend.start(self.run_id, self._want, self._ref)

    async def _follow(self, run: Run) -> Failure | None:
        """Why the run is over, or None when the worker is to drain."""
        self._mailbox = asyncio.Queue()
        self._ready_since = None
        if self._draining.is_set():
            return None
        self._show(WorkerState.STARTING, address=run.address, failure=self.worker.failure)
        async with asyncio.TaskGroup() as tasks:
            observing = tasks.create_task(run.observe(self._mailbox.put_nowait))
            try:
                failure = await self._handle_events(run)
            finally:
                observing.cancel()
        return failure and self._count_exit(failure)

    async def _handle_events(self, run: Run) -> Failure | None:
        loop = asyncio.get_running_loop()
        deadline: float | None = loop.time() + self._want.start_deadline_s
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    event = await self._mailbox.get()
            except TimeoutError:
                return await run.diagnose()
            match event:
                case Ready():
                    deadline, self._ready_since = None, loop.time()
                    self._show(WorkerState.READY, address=run.address)
                case Unready() if self.worker.state is WorkerState.READY:
                    deadline = loop.time() + self._want.start_deadline_s
                    self._show(WorkerState.UNREADY, address=run.address)
                case Exited(failure):
                    return failure
                case None:
                    return None
            self.settled.set()

    def _count_exit(self, failure: Failure) -> Failure:
        now = asyncio.get_running_loop().time()
        counted = self._restarts.exited(failure, now, self._ready_since)
        log.warning(
            "worker ended",
            extra={
                "endpoint": self._want.endpoint_id,
                "worker": self._record.id,
                "reason": counted.reason,
                "exit_code": counted.exit_code,
                "why": counted.message,
            },
        )
        return counted

    async def _back_off(self) -> None:
        try:
            async with asyncio.timeout(self._restarts.delay()):
                await self._draining.wait()
        except TimeoutError:
            return

    def _show(self, state: WorkerState, *, address: str | None = None, failure: Failure | None = None) -> None:
        if self._draining.is_set():
            state = WorkerState.DRAINING
        restarts = max(0, self._record.run - 1)
        worker = Worker(self.worker.id, self.worker.revision, state, address, restarts, failure)
        if failure is not None:
            self.settled.set()
        if worker != self.worker:
            self.worker = worker
            self._changed()
