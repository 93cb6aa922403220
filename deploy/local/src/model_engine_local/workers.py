"""Stopping the workers with the platform. The agent leaves them running when it stops, so that it can be replaced."""

import contextlib
import os
from pathlib import Path

import psutil

DRAIN_SECONDS = 10.0


def stop_all_workers(agent_dir: Path) -> None:
    """End every process that works in the agent's directory: SIGTERM, and SIGKILL after ten seconds."""
    processes = workers_of(agent_dir)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=DRAIN_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=DRAIN_SECONDS)


def workers_of(agent_dir: Path) -> list[psutil.Process]:
    """The processes that were started from this directory: it is in their command line or their working directory."""
    prefix = f"{agent_dir}{os.sep}"
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            works_there = f"{process.cwd()}{os.sep}".startswith(prefix)
            if process.pid != os.getpid() and (works_there or any(prefix in word for word in process.cmdline())):
                found.append(process)
    return found
