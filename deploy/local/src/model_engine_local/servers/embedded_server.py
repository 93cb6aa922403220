"""One server process on 127.0.0.1: started and awaited, stopped, killed, started again on the same data and port."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from model_engine_local.ports import free_port, is_free
from model_engine_local.servers.binaries import Binary, explain_missing_library

START_SECONDS = 30.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.01
TAIL_BYTES = 3000


_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class ServerStartFailed(Exception):
    """The server ended, or did not become ready in time; the message ends with the last lines of its log."""


class EmbeddedServer(ABC):
    """Base of the three servers. Calls block (use a thread inside an event loop); one caller at a time.

    `port` 0 means a free one, chosen once and kept over restarts. The server has a process group of its own, so that
    an interrupt of the terminal reaches only its owner, who stops it in the right order. With `die_with_parent`, for
    tests, the kernel of Linux kills it when the thread that started it is gone, however that came about.
    """

    BINARY: ClassVar[Binary]

    def __init__(
        self, data_dir: Path, port: int = 0, log: Path | None = None, *, die_with_parent: bool = False
    ) -> None:
        self.data_dir = data_dir
        self.port = port or free_port()
        self.log = log or data_dir / f"{self.BINARY.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._preexec = _die_with_parent if die_with_parent and sys.platform == "linux" else None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect."""

    @abstractmethod
    def command(self, binary: Path) -> list[str]:
        """The command line; may write configuration into the data directory."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it answers its own protocol now. May finish its set-up, so it is called until it is true."""

    @property
    def pid(self) -> int | None:
        """The process id while it lives."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start it and return when it is ready; nothing happens when it lives already.

        Raises BinaryNotFound, MissingLibrary or ServerStartFailed.
        """
        if self.pid is not None:
            return
        if not is_free(self.port):
            raise ServerStartFailed(
                f"{self.BINARY.name} cannot start: something else listens on 127.0.0.1:{self.port}. "
                "Stop it, or choose another port."
            )
        self._start()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after 20 seconds. Returns when the process is gone."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL to its process group: the death that faults are tested with. Returns when the process is gone."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _start(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = self.command(self.BINARY.find(self.data_dir / "bin"))
        with self.log.open("ab") as log:
            log_start = log.tell()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data_dir,
                start_new_session=True,
                preexec_fn=self._preexec,
            )
        try:
            self._await_ready(log_start)
        except BaseException:
            self.kill()
            raise

    def _await_ready(self, log_start: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.pid is None:
                self._explain_death(log_start)
            if self.ready() and self.pid is not None:
                return
            time.sleep(POLL_SECONDS)
        raise ServerStartFailed(
            f"{self.BINARY.name} was not ready on port {self.port} within {START_SECONDS:.0f} s. "
            f"The end of {self.log}:\n{self._tail(log_start)}"
        )

    def _explain_death(self, log_start: int) -> None:
        assert self._process is not None
        tail = self._tail(log_start)
        explain_missing_library(self.BINARY.name, tail)
        raise ServerStartFailed(
            f"{self.BINARY.name} ended with exit code {self._process.returncode} while starting on port {self.port}. "
            f"The end of {self.log}:\n{tail}"
        )

    def _tail(self, log_start: int) -> str:
        with self.log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(log_start, end - TAIL_BYTES))
            return log.read().decode(errors="replace")
