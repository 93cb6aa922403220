"""One supervised process of the platform: started, probed until ready, restarted when it dies, stopped with a bound."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

RESTART_BASE = 0.2
RESTART_CAP = 5.0
STEADY_AFTER = 30.0
LOG_LIMIT = 16 << 20


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """How to start one process. `ready_url` answers 200 when it is ready; None: ready once `ready_port` accepts.

    `stop_seconds` is how long it may drain after SIGTERM before it is killed.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    log: Path
    ready_url: str | None = None
    ready_port: int | None = None
    stop_seconds: float = 15.0


@dataclass(slots=True)
class ManagedProcess:
    """A process and its supervisor's memory. `restarts` counts the times it died by itself."""

    spec: ProcessSpec
    restarts: int = 0
    process: asyncio.subprocess.Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: bool = False

    async def run(self) -> None:
        """Keep the process running until `stop` is called; a death is followed by a restart with backoff."""
        attempt = 0
        while not self.stopping:
            started = time.monotonic()
            await self._start()
            probe = asyncio.create_task(self._wait_ready())
            assert self.process is not None
            try:
                await self.process.wait()
            finally:
                probe.cancel()
                self.ready.clear()
            if self.stopping:
                return
            self.restarts += 1
            attempt = 0 if time.monotonic() - started > STEADY_AFTER else attempt + 1
            delay = min(RESTART_CAP, RESTART_BASE * 2 ** min(attempt, 8))
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, not a secret

    async def _start(self) -> None:
        spec = self.spec
        if spec.log.exists() and spec.log.stat().st_size > LOG_LIMIT:
            spec.log.replace(spec.log.with_suffix(".log.1"))
        with spec.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *spec.command,
                env={**os.environ, **spec.env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _wait_ready(self) -> None:
        while not await self._probe():
            await asyncio.sleep(0.05)
        self.ready.set()

    async def _probe(self) -> bool:
        if self.spec.ready_url is not None:
            return await asyncio.to_thread(answers, self.spec.ready_url)
        return self.spec.ready_port is None or await asyncio.to_thread(accepts, self.spec.ready_port)

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL after the spec's `stop_seconds`; returns when the process is gone."""
        self.stopping = True
        process = self.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self.spec.stop_seconds):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def accepts(port: int) -> bool:
    """Whether something on 127.0.0.1 accepts a connection to `port` within a second."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False


def answers(url: str) -> bool:
    """Whether a GET of `url` answers 200 within two seconds."""
    try:
        with urllib.request.urlopen(url, timeout=2.0) as response:  # noqa: S310  # an address of our own making
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False
