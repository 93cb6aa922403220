"""Environments: each made once however many ask for it, kept until it is released, and made again after a crash."""

import asyncio
import errno
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from model_engine_contracts.failures import Reason
from model_engine_contracts.ids import new_id
from model_engine_runtime.agent.backend import Backend, BuildFailed
from model_engine_runtime.agent.files import remove_tree, write_atomically
from model_engine_runtime.agent.log_files import tail
from model_engine_runtime.errors import EnvironmentInUse
from model_engine_runtime.keys import environment_key
from model_engine_runtime.protocol import Environment, Failure, Preparation, PrepState
from model_engine_runtime.wire import decode, encode

log = logging.getLogger(__name__)

BUILD_LOG = "build"
REQUEST, OUTCOME = "request.json", "outcome.json"


@dataclass(slots=True)
class Preparations:
    """Keeps `environments/<key>` (what workers use) and `builds/<key>` (request, log, outcome) below `folder`.

    A build is done when its outcome is written, last. `changed` tells the watch, `gone` that nothing is left of a key.
    """

    folder: Path
    backend: Backend
    parallel: int
    changed: Callable[[str], None]
    gone: Callable[[str], None]
    known: dict[str, Preparation] = field(default_factory=dict)
    _requests: dict[str, Environment] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def load(self) -> None:
        """Read what an earlier agent left: outcomes stay, unfinished builds are queued again, the rest is removed."""
        for name in ("environments", "builds", "trash"):
            (self.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        for work in sorted((self.folder / "builds").iterdir()):
            if not (work / REQUEST).exists():
                remove_tree(work)
                continue
            key = work.name
            self._requests[key] = decode(Environment, (work / REQUEST).read_bytes())
            if (work / OUTCOME).exists():
                self.known[key] = decode(Preparation, (work / OUTCOME).read_bytes())
            else:
                self.known[key] = Preparation(key, PrepState.QUEUED, changed_at=time.time())
        for folder in (self.folder / "environments").iterdir():
            if folder.name not in self.known:
                remove_tree(folder)

    def ref_of(self, key: str) -> str | None:
        """Where a READY environment is."""
        known = self.known.get(key)
        return known.ref if known is not None and known.state is PrepState.READY else None

    def log_folder(self, key: str) -> Path:
        """Where the build log of an environment lies."""
        return self.folder / "builds" / key

    async def prepare(self, environment: Environment) -> Preparation:
        """See Runtime.prepare. The request is durable when it returns."""
        key = environment_key(environment, *self.backend.identity)
        known = self.known.get(key)
        if known is None:
            # Known before the first await, so that of many callers one makes the request.
            known = self.known[key] = Preparation(key, PrepState.QUEUED, changed_at=time.time())
            try:
                await asyncio.to_thread(self._write_request, key, environment)
            except OSError as error:
                await self._finish(key, Failure(_reason_of(error), f"The build cannot begin: {error}"))
            else:
                self._requests[key] = environment
                self._set(known)
        elif known.state is PrepState.QUEUED and key in self._requests:
            self._requests[key] = environment  # the artifact's address is valid for longer
        return self.known.get(key, known)

    async def release(self, key: str, in_use: Iterable[str]) -> None:
        """See Runtime.release. Raises EnvironmentInUse."""
        known = self.known.get(key)
        if known is not None:
            if known.state in (PrepState.QUEUED, PrepState.BUILDING):
                raise EnvironmentInUse(f"{key} is being prepared")
            if key in in_use:
                raise EnvironmentInUse(f"{key} is used by workers")
            del self.known[key]
            self._requests.pop(key, None)
            self._discard(key)
            self._wake.set()
        self.gone(key)

    async def run(self) -> None:
        """Build what is queued, and empty the trash, as long as the agent runs."""
        self._wake.set()
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await asyncio.to_thread(self._empty_trash)
                places = self.parallel - len(self._in_state(PrepState.BUILDING))
                for key in self._in_state(PrepState.QUEUED)[: max(0, places)]:
                    self._set(Preparation(key, PrepState.BUILDING, changed_at=time.time()))
                    tasks.create_task(self._build(key))

    def _in_state(self, state: PrepState) -> list[str]:
        return [key for key in self._requests if self.known[key].state is state]

    async def _build(self, key: str) -> None:
        environment, work = self._requests[key], self.log_folder(key)
        log.info("preparing", extra={"environment": key, "requirements": len(environment.requirements)})
        try:
            async with asyncio.timeout(environment.deadline_s):
                ref = await self.backend.build(environment, self.folder / "environments" / key, work)
        except TimeoutError:
            message = f"The environment was not ready after {environment.deadline_s:g} s."
            await self._finish(key, Failure(Reason.BUILD_TIMEOUT, message, log_tail=tail(work, BUILD_LOG)))
        except BuildFailed as failed:
            await self._finish(key, failed.failure)
        except OSError as error:
            message = f"Preparing the environment failed: {error}"
            await self._finish(key, Failure(_reason_of(error), message, log_tail=tail(work, BUILD_LOG)))
        else:
            await self._finish(key, ref=ref)

    async def _finish(self, key: str, failure: Failure | None = None, ref: str | None = None) -> None:
        state = PrepState.READY if failure is None else PrepState.FAILED
        outcome = Preparation(key, state, ref, failure, time.time())
        if failure is not None:
            log.warning("preparation failed", extra={"environment": key, "reason": failure.reason})
            await asyncio.to_thread(remove_tree, self.folder / "environments" / key)
        try:
            await asyncio.to_thread(write_atomically, self.log_folder(key) / OUTCOME, encode(outcome))
        except OSError as error:
            # The next agent will build once more; this one knows the outcome.
            log.error("an outcome is not durable", extra={"environment": key, "error": str(error)})
        self._set(outcome)

    def _set(self, preparation: Preparation) -> None:
        self.known[preparation.key] = preparation
        self.changed(preparation.key)
        self._wake.set()

    def _write_request(self, key: str, environment: Environment) -> None:
        self.log_folder(key).mkdir(exist_ok=True, mode=0o700)
        write_atomically(self.log_folder(key) / REQUEST, encode(environment))

    def _discard(self, key: str) -> None:
        """Away from its place at once (a rename), removed later: the key may be prepared anew meanwhile."""
        for name in ("builds", "environments"):
            place = self.folder / name / key
            if place.exists():
                place.rename(self.folder / "trash" / new_id(name))

    def _empty_trash(self) -> None:
        for folder in (self.folder / "trash").iterdir():
            remove_tree(folder)


def _reason_of(error: OSError) -> Reason:
    return Reason.DISK_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else Reason.BUILD_FAILED
