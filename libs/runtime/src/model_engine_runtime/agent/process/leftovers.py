"""Processes that outlived their run: they carry its folder in their environment, wherever they went."""

from collections.abc import Iterator
from pathlib import Path

import psutil

KILL_SECONDS = 5.0
VARIABLE = "ME_WORKER_RUN"


def kill_leftovers(folder: Path) -> None:
    """End every process that was started below a run's (or a worker's) folder, and wait until they are gone."""
    found = list(processes_of(folder))
    for process in found:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(found, timeout=KILL_SECONDS)


def processes_of(folder: Path) -> Iterator[psutil.Process]:
    """The processes whose environment names the folder, or a folder in it, as their run."""
    for process in psutil.process_iter():
        try:
            place = process.environ().get(VARIABLE)
        except psutil.Error:
            continue
        if place is not None and (place == str(folder) or place.startswith(f"{folder}/")):
            yield process
