"""Processes named by pid and start time, with pidfds and without."""

import asyncio
import os
import subprocess
import sys

import pytest

from model_engine_runtime.agent.process.identity import ProcessIdentity
from model_engine_runtime.agent.process.shim import start_time

SLEEPER = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


@pytest.fixture
def process():
    """A process that this one does not reap until the test ends."""
    child = subprocess.Popen(SLEEPER)
    yield ProcessIdentity(child.pid, start_time(child.pid))
    child.kill()
    child.wait()


@pytest.mark.parametrize("pidfd", [True, False])
async def test_the_end_is_seen_while_nobody_has_reaped_it(process, monkeypatch, pidfd):
    if not pidfd:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    assert process.alive()
    waiting = asyncio.create_task(process.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    process.kill()
    await asyncio.wait_for(waiting, 5)
    assert not process.alive()


async def test_one_that_has_ended_before_is_not_waited_for(process):
    process.kill()
    os.waitpid(process.pid, 0)  # noqa: ASYNC222  # it has been killed
    await asyncio.wait_for(process.wait(), 5)


@pytest.mark.skipif(sys.platform != "linux", reason="start times are read from /proc")
def test_another_process_with_its_number_is_left_alone(process):
    impostor = ProcessIdentity(process.pid, process.start - 1)
    assert not impostor.alive()
    impostor.kill()
    assert process.alive()
