"""Environments on disk: what a crash leaves, deadlines, and full disks."""

import asyncio
import errno
from contextlib import asynccontextmanager

import pytest

from model_engine_contracts.failures import Reason
from model_engine_local.testing import eventually
from model_engine_runtime.agent.preparations import Preparations
from model_engine_runtime.agent.simulated import SimulatedBackend
from model_engine_runtime.keys import environment_key
from model_engine_runtime.protocol import Environment, PrepState
from model_engine_runtime.wire import encode

ENVIRONMENT = Environment(requirements=("anything",))
KEY = environment_key(ENVIRONMENT, *SimulatedBackend().identity)


class Builder(SimulatedBackend):
    """Builds as it is told."""

    def __init__(self):
        self.builds = 0
        self.running = 0
        self.most = 0
        self.go = asyncio.Event()
        self.go.set()
        self.error = None

    async def build(self, environment, folder, work):
        self.builds += 1
        self.running += 1
        self.most = max(self.most, self.running)
        folder.mkdir(exist_ok=True)
        try:
            await self.go.wait()
        finally:
            self.running -= 1
        if self.error:
            raise self.error
        return str(folder)


@asynccontextmanager
async def opened(folder, builder, parallel=2):
    gone = []
    preparations = Preparations(folder, builder, parallel, changed=lambda key: None, gone=gone.append)
    preparations.load()
    running = asyncio.create_task(preparations.run())
    yield preparations
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def state_is(preparations, state, key=KEY):
    return lambda: preparations.known[key].state is state


async def test_a_crash_in_mid_build_builds_again_and_one_after_it_does_not(tmp_path):
    builder = Builder()
    builder.go.clear()
    async with opened(tmp_path, builder) as preparations:
        await preparations.prepare(ENVIRONMENT)
        await eventually(lambda: builder.running)
    builder.go.set()
    async with opened(tmp_path, builder) as preparations:
        await eventually(state_is(preparations, PrepState.READY))
        assert preparations.ref_of(KEY) == str(tmp_path / "environments" / KEY)
    async with opened(tmp_path, builder) as preparations:
        assert preparations.known[KEY].state is PrepState.READY
    assert builder.builds == 2


async def test_what_belongs_to_no_request_is_removed_at_start(tmp_path):
    (tmp_path / "environments" / "stray").mkdir(parents=True)
    (tmp_path / "builds" / "torn").mkdir(parents=True)
    (tmp_path / "trash" / "old").mkdir(parents=True)
    async with opened(tmp_path, Builder()) as preparations:
        assert preparations.known == {}
        await eventually(lambda: not list(tmp_path.glob("*/*")))


async def test_only_so_many_are_built_at_once(tmp_path):
    builder = Builder()
    builder.go.clear()
    async with opened(tmp_path, builder, parallel=2) as preparations:
        for number in range(5):
            await preparations.prepare(Environment(requirements=(str(number),)))
        await eventually(lambda: builder.running == 2)
        builder.go.set()
        await eventually(lambda: all(p.state is PrepState.READY for p in preparations.known.values()))
    assert (builder.builds, builder.most) == (5, 2)


async def test_a_build_beyond_its_deadline_is_ended_and_wiped(tmp_path):
    builder = Builder()
    builder.go.clear()
    async with opened(tmp_path, builder) as preparations:
        await preparations.prepare(Environment(requirements=("anything",), deadline_s=0.05))
        await eventually(state_is(preparations, PrepState.FAILED))
        assert preparations.known[KEY].failure.reason is Reason.BUILD_TIMEOUT
        assert not (tmp_path / "environments" / KEY).exists()


@pytest.mark.parametrize(("number", "reason"), [(errno.ENOSPC, Reason.DISK_FULL), (errno.EACCES, Reason.BUILD_FAILED)])
async def test_an_error_of_the_disk_is_explained(tmp_path, number, reason):
    builder = Builder()
    builder.error = OSError(number, "the disk says no")
    async with opened(tmp_path, builder) as preparations:
        await preparations.prepare(ENVIRONMENT)
        await eventually(state_is(preparations, PrepState.FAILED))
        failure = preparations.known[KEY].failure
        assert failure.reason is reason
        assert "the disk says no" in failure.message


async def test_release_removes_all_files_and_frees_the_key_at_once(tmp_path):
    builder = Builder()
    async with opened(tmp_path, builder) as preparations:
        await preparations.prepare(ENVIRONMENT)
        await eventually(state_is(preparations, PrepState.READY))
        await preparations.release(KEY, in_use=set())
        assert preparations.known == {}
        await preparations.prepare(ENVIRONMENT)
        await eventually(state_is(preparations, PrepState.READY))
        await preparations.release(KEY, in_use=set())
        await eventually(lambda: not list(tmp_path.glob("*/*")))
    assert builder.builds == 2


async def test_the_request_is_durable_when_prepare_returns(tmp_path):
    builder = Builder()
    builder.go.clear()
    async with opened(tmp_path, builder) as preparations:
        await preparations.prepare(ENVIRONMENT)
        assert (tmp_path / "builds" / KEY / "request.json").read_bytes() == encode(ENVIRONMENT)
