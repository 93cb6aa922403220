"""The steps of a build that run programs: each with its output in the build log and its failure explained.

Package builds run strangers' code. They get no setting of the agent, a low priority, and a session of their own that is
killed when the build is cancelled.
"""

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path

from uv import find_uv_bin

from model_engine_contracts.failures import Reason
from model_engine_runtime.agent.backend import BuildFailed
from model_engine_runtime.agent.log_files import file_name, tail
from model_engine_runtime.agent.preparations import BUILD_LOG
from model_engine_runtime.agent.process.uv_failures import failure_of_uv
from model_engine_runtime.protocol import Failure

PASSED_ON = re.compile(r"(UV_|SSL_|LC_|XDG_)\w*|PATH|HOME|LANG|TMPDIR|NETRC|(?i:https?_proxy|all_proxy|no_proxy)")
LOW_PRIORITY = ("nice", "-n", "10")
UV_OPTIONS = ("--no-progress", "--color", "never")
SMOKE_TEST = "import model_engine_model_server.server"


class BuildSteps:
    """Programs of one build. They inherit the build's lock, so it is held until the last of them has ended."""

    def __init__(self, work: Path, lock: int) -> None:
        self._work, self._lock = work, lock
        self._log = work / file_name(BUILD_LOG, 0)
        self._log.write_bytes(b"")

    def say(self, line: str) -> None:
        """Add a line to the build log."""
        with self._log.open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    async def make_venv(self, venv: Path, python: str) -> None:
        """A virtual environment with an interpreter that is on this host. Raises BuildFailed."""
        await self._uv("venv", "--no-project", "--no-python-downloads", "--python", python, str(venv))

    async def install(self, venv: Path, requirements: Sequence[str]) -> None:
        """Install requirements into it. Raises BuildFailed."""
        file = self._work / "requirements.txt"
        file.write_text("".join(f"{line}\n" for line in requirements), encoding="utf-8")
        await self._uv("pip", "install", "--python", str(venv / "bin" / "python"), "--requirements", str(file))

    async def try_model_server(self, venv: Path) -> None:
        """See that the model server can be imported there. Raises BuildFailed."""
        code = await self._run([str(venv / "bin" / "python"), "-I", "-c", SMOKE_TEST])
        if code != 0:
            message = "The model server does not run in this environment; do the requirements change what it needs?"
            raise BuildFailed(Failure(Reason.BUILD_FAILED, message, code, tail(self._work, BUILD_LOG)))

    async def _uv(self, command: str, *arguments: str) -> None:
        code = await self._run([find_uv_bin(), command, *arguments, *UV_OPTIONS])
        if code != 0:
            raise BuildFailed(failure_of_uv(tail(self._work, BUILD_LOG), code))

    async def _run(self, command: list[str]) -> int:
        self.say("$ " + " ".join(command))
        environ = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *LOW_PRIORITY,
                *command,
                cwd=self._work,
                env=environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(self._lock,),
                start_new_session=True,
            )
        try:
            return await process.wait()
        finally:
            # Also what a finished step left running, and all of it when the build is cancelled.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
