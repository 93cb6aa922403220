"""The supervisor of one run of one worker: a small process that outlives the agent.

`python -I -S shim.py FOLDER` reads FOLDER/launch.json, starts the model server and the forwarder, keeps their output in
bounded log files, and writes what happens as files that are whole after any crash:

shim.json   {"shim": [pid, start], "model": [pid, start], "forwarder": [pid, start]} once both are started; `start` is
            the start time of the process in clock ticks since boot (null where /proc is missing)
exit.json   {"part": "model" | "forwarder", "code": …, "error": …} as soon as one of them ends by itself; the other is
            then ended too

SIGTERM drains: the forwarder ends first and may take `drain_s`, then the model server. FOLDER/lock is locked as long as
this process lives (its descriptor is inherited). Only the standard library, and little of it: there is one of these per
worker.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

PARTS = ("model", "forwarder")
WIND_UP_SECONDS = 5.0
CHUNK_BYTES = 1 << 16
FILES_KEPT = 2


class Log:
    """Writes `<stem>.<offset>.log` files of bounded size, the last two of which are kept."""

    def __init__(self, folder: str, stem: str, max_bytes: int) -> None:
        self._folder, self._stem, self._max_bytes = folder, stem, max_bytes
        self._names: list[str] = []
        self._offset = self._size = 0
        self._file = self._open()

    def write(self, data: bytes) -> None:
        """Append. What a full disk does not take is lost; the worker goes on."""
        try:
            if self._size >= self._max_bytes:
                os.close(self._file)
                self._size = 0
                self._file = self._open()
            os.write(self._file, data)
        except OSError:
            return
        self._offset += len(data)
        self._size += len(data)

    def _open(self) -> int:
        name = os.path.join(self._folder, f"{self._stem}.{self._offset:015d}.log")
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._names.append(name)
        for old in self._names[:-FILES_KEPT]:
            os.unlink(old)
        self._names = self._names[-FILES_KEPT:]
        return descriptor


class Part:
    """One of the two processes, in a process group of its own, so that its own children end with it."""

    def __init__(self, folder: str, name: str, spec: dict[str, Any], log_bytes: int) -> None:
        self.name = name
        self.error: str | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.log = Log(folder, name, log_bytes)
        try:
            self.process = subprocess.Popen(
                spec["command"],
                env=spec["env"],
                cwd=spec["cwd"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        except OSError as error:
            self.error = str(error)
            self.log.write(f"{error}\n".encode())

    @property
    def code(self) -> int | None:
        """The exit code once it ended: 128 plus the number of the signal that ended it, if one did."""
        if self.process is None:
            return 127
        code = self.process.poll()
        return code if code is None or code >= 0 else 128 - code

    def signal(self, number: int) -> None:
        """Send a signal to the process itself."""
        if self.process is not None:
            self.process.send_signal(number)

    def kill_group(self) -> None:
        """End it and whatever it has started."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                return  # nobody is left (macOS says EPERM of a group of zombies)


class Shim:
    """Both parts, their output, and the signals of this process."""

    def __init__(self, folder: str, launch: dict[str, Any]) -> None:
        self.folder = folder
        self.stopping = False
        self._selector = selectors.DefaultSelector()
        wake, waker = os.pipe()
        for descriptor in (wake, waker):
            os.set_blocking(descriptor, False)
        self._selector.register(wake, selectors.EVENT_READ)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        self.parts = {name: Part(folder, name, launch[name], launch["log_bytes"]) for name in PARTS}
        for part in self.parts.values():
            if part.process is not None and part.process.stdout is not None:
                os.set_blocking(part.process.stdout.fileno(), False)
                self._selector.register(part.process.stdout.fileno(), selectors.EVENT_READ, part)

    def run(self, drain_s: float) -> None:
        """Return when both parts and their children have ended."""
        pids = {name: part.process.pid for name, part in self.parts.items() if part.process is not None}
        identities = {name: [pid, start_time(pid)] for name, pid in {**pids, "shim": os.getpid()}.items()}
        write_json(self.folder, "shim.json", identities)
        self._pump(lambda: self.stopping or self._ended() is not None)
        ended = self._ended()
        if ended is not None and not self.stopping:
            write_json(self.folder, "exit.json", {"part": ended.name, "code": ended.code, "error": ended.error})
            drain_s = WIND_UP_SECONDS
        self._end(self.parts["forwarder"], drain_s)
        self._end(self.parts["model"], WIND_UP_SECONDS)

    def _ended(self) -> Part | None:
        return next((part for part in self.parts.values() if part.code is not None), None)

    def _end(self, part: Part, seconds: float) -> None:
        if part.code is None:
            part.signal(signal.SIGTERM)
            self._pump(lambda: part.code is not None, seconds)
        part.kill_group()
        self._pump(lambda: part.code is not None, WIND_UP_SECONDS)

    def _pump(self, done: Callable[[], bool], seconds: float | None = None) -> None:
        """Move output into the logs until `done`, for so many seconds at most."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while not done():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            self._move(left)
        self._move(0)

    def _move(self, timeout: float | None) -> None:
        for key, _ in self._selector.select(timeout):
            try:
                data = os.read(key.fd, CHUNK_BYTES)
            except BlockingIOError:
                continue
            if key.data is None:
                continue  # a signal; `done` sees what it brought
            if data:
                key.data.log.write(data)
            else:
                self._selector.unregister(key.fd)

    def _stop(self, *_: object) -> None:
        self.stopping = True


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: with the pid it names one process for ever. See proc(5)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except OSError:
        return None


def write_json(folder: str, name: str, value: object) -> None:
    """Write a file that is whole whenever it is there."""
    path = os.path.join(folder, name)
    with open(path + ".draft", "w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".draft", path)


def main() -> None:
    """Read the launch file and supervise."""
    folder = sys.argv[1]
    with open(os.path.join(folder, "launch.json"), encoding="utf-8") as file:
        launch = json.load(file)
    Shim(folder, launch).run(launch["drain_s"])


if __name__ == "__main__":
    main()
