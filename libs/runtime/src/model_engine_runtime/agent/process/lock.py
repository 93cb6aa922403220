"""A lock file that is held as long as any process lives that has inherited its descriptor; see flock(2)."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(path: Path) -> Iterator[int]:
    """Take the lock and give its descriptor, to be passed on to a child; this process lets go at the end of the block.

    Raises BlockingIOError where another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock."""
    if not path.exists():
        return False
    try:
        with held(path):
            return False
    except BlockingIOError:
        return True
