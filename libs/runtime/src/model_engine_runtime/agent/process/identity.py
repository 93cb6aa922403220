"""Processes that are not ours to wait for: named by (pid, start time), signalled, and seen to end at once."""

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass

from model_engine_runtime.agent.process.shim import start_time

POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process for ever, even when its number is given to another. `start` is None where /proc is missing."""

    pid: int
    start: int | None

    def alive(self) -> bool:
        """Whether it exists, and is no zombie where that can be told."""
        if self.start is None:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return False
            return True
        return start_time(self.pid) == self.start and not _is_zombie(self.pid)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, to this process only and never to a later one of its number."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def wait(self) -> None:
        """Return when it has ended: at once by a pidfd (Linux), or within 100 ms by polling."""
        descriptor = self._open()
        if descriptor is None:
            while self.alive():
                await asyncio.sleep(POLL_SECONDS)
            return
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        try:
            loop.add_reader(descriptor, ended.set)
            if self.alive():
                await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    def _open(self) -> int | None:
        if not hasattr(os, "pidfd_open"):
            return None
        try:
            return os.pidfd_open(self.pid)
        except OSError:
            return None


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return True
