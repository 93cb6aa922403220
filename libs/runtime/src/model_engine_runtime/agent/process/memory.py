"""Keeping workers within their memory: the resident memory of each one's processes, sampled, and SIGKILL beyond it.

An address-space limit would count what is only reserved. Resident memory counts shared pages once per process, so a sum
that is too large is checked against the proportional size (PSS) before anybody is killed.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

SAMPLE_SECONDS = 0.5
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Sample:
    """One process."""

    pid: int
    parent: int
    group: int
    resident_bytes: int


class Watched(Protocol):
    """A worker whose memory is watched."""

    @property
    def limit_bytes(self) -> int:
        """What its processes may use together."""
        ...

    def exceeded(self, used_bytes: int) -> None:
        """End it."""
        ...


@dataclass(slots=True)
class MemoryWatch:
    """Samples all workers in one pass. `watched` is by the first process of each, which leads a process group."""

    watched: dict[int, Watched] = field(default_factory=dict)

    async def run(self) -> None:
        """Sample as long as the agent runs."""
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            if not self.watched:
                continue
            trees = await asyncio.to_thread(lambda: trees_of(read_processes(), set(self.watched)))
            for root, tree in trees.items():
                worker = self.watched.get(root)
                if worker is None or sum(sample.resident_bytes for sample in tree) <= worker.limit_bytes:
                    continue
                used = await asyncio.to_thread(proportional_bytes, tree)
                if used > worker.limit_bytes:
                    worker.exceeded(used)


def trees_of(samples: Iterable[Sample], roots: set[int]) -> dict[int, list[Sample]]:
    """The processes of each root: its descendants, and those of its group whose parent has ended."""
    by_pid = {sample.pid: sample for sample in samples}
    trees: dict[int, list[Sample]] = defaultdict(list)
    for sample in by_pid.values():
        ancestor: Sample | None = sample
        seen = 0
        while ancestor is not None and ancestor.pid not in roots and seen < 100:
            ancestor = by_pid.get(ancestor.parent)
            seen += 1
        root = ancestor.pid if ancestor is not None and ancestor.pid in roots else sample.group
        if root in roots:
            trees[root].append(sample)
    return trees


def read_processes() -> Iterator[Sample]:
    """All processes of this host that can be read."""
    if not Path("/proc/self/stat").exists():
        yield from _read_with_psutil()
        return
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            yield Sample(int(name), int(fields[1]), int(fields[2]), int(fields[21]) * PAGE_BYTES)


def _read_with_psutil() -> Iterator[Sample]:
    for process in psutil.process_iter():
        try:
            yield Sample(process.pid, process.ppid(), os.getpgid(process.pid), process.memory_info().rss)
        except (psutil.Error, ProcessLookupError, PermissionError):
            continue


def proportional_bytes(tree: Iterable[Sample]) -> int:
    """The memory of the processes with shared pages counted in shares; resident memory where that is unknown."""
    return sum(_proportional(sample) for sample in tree)


def _proportional(sample: Sample) -> int:
    try:
        for line in Path(f"/proc/{sample.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    except OSError:
        return sample.resident_bytes
    return sample.resident_bytes
