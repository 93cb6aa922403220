"""The life of workers, on every driver."""

from dataclasses import replace

import pytest

from model_engine_contracts.failures import Reason
from model_engine_local.testing import eventually
from model_engine_runtime.protocol import WorkerState


async def test_workers_become_ready_with_an_address(driver, observer, prepared):
    want = driver.want(await prepared(driver), initial_replicas=2)
    await driver.runtime.apply(want)
    workers = await observer.ready(2)
    assert {worker.revision for worker in workers} == {want.revision}
    assert all(worker.address for worker in workers)
    assert observer.sets["end_a"].created_at > 0


async def test_an_equal_revision_touches_no_worker(driver, observer, prepared):
    want = driver.want(await prepared(driver))
    await driver.runtime.apply(want)
    before = await observer.ready()
    await driver.runtime.apply(replace(want, generation=7, initial_replicas=5, start_deadline_s=1.0))
    await eventually(lambda: observer.sets["end_a"].generation == 7)
    assert observer.workers() == before


async def test_a_new_revision_replaces_the_old_one_without_a_gap(driver, observer, prepared):
    want = driver.want(await prepared(driver), initial_replicas=2)
    await driver.runtime.apply(want)
    await observer.ready(2)
    observer.history.clear()
    newer = driver.want(want.environment_key, nonce=1, generation=2)
    await driver.runtime.apply(newer)
    await observer.ready(2, revision=newer.revision)
    counts = [sum(w.state is WorkerState.READY for w in state.workers) for state in observer.history]
    assert min(counts) >= 2
    assert observer.sets["end_a"].replicas == 2


async def test_a_bad_revision_leaves_the_old_workers_alone(driver, observer, prepared):
    want = driver.want(await prepared(driver))
    await driver.runtime.apply(want)
    [before] = await observer.ready()
    await driver.runtime.apply(driver.want(want.environment_key, "import", generation=2))
    await eventually(lambda: observer.sets["end_a"].failure, timeout=20)
    assert observer.sets["end_a"].failure.reason in (Reason.IMPORT_ERROR, Reason.CRASH_LOOP)
    assert before in observer.workers()
    await driver.runtime.apply(replace(want, generation=2))
    assert await observer.ready(1, revision=want.revision) == [before]
    assert observer.sets["end_a"].failure is None


async def test_a_revision_that_is_overtaken_never_counts(driver, observer, prepared):
    want = driver.want(await prepared(driver))
    await driver.runtime.apply(want)
    await observer.ready()
    await driver.runtime.apply(driver.want(want.environment_key, "silent", generation=2))
    await eventually(lambda: len(observer.workers()) == 2)
    newest = driver.want(want.environment_key, nonce=3, generation=3)
    await driver.runtime.apply(newest)
    await observer.ready(1, revision=newest.revision)


async def test_scaling_up_down_and_to_zero(driver, observer, prepared):
    await driver.runtime.apply(driver.want(await prepared(driver)))
    [first] = await observer.ready()
    await driver.runtime.scale("end_a", 3, epoch=1)
    assert first in await observer.ready(3)
    await driver.runtime.scale("end_a", 0, epoch=1)
    await observer.ready(0)
    assert observer.sets["end_a"].replicas == 0
    await driver.runtime.scale("end_a", 1, epoch=2)
    await observer.ready()


async def test_a_failed_start_says_why(driver, observer, prepared):
    await driver.runtime.apply(driver.want(await prepared(driver), "import"))
    await eventually(lambda: observer.sets.get("end_a") and observer.sets["end_a"].failure)
    failure = observer.sets["end_a"].failure
    assert failure.reason is Reason.IMPORT_ERROR
    assert failure.exit_code == 1


async def test_three_exits_in_a_row_are_a_crash_loop(driver, observer, prepared):
    await driver.runtime.apply(driver.want(await prepared(driver), "crash"))

    def looping():
        return [w.failure for w in observer.workers() if w.failure and w.failure.reason is Reason.CRASH_LOOP]

    [failure] = await eventually(looping, timeout=30)
    assert Reason.EXITED in failure.message
    assert any(w.state is WorkerState.READY for state in observer.history for w in state.workers)
    assert observer.workers()[0].restarts >= 2


async def test_never_ready_within_the_deadline(driver, observer, prepared):
    await driver.runtime.apply(driver.want(await prepared(driver), "silent", start_deadline_s=0.5))
    await eventually(lambda: observer.sets.get("end_a") and observer.sets["end_a"].failure)
    assert observer.sets["end_a"].failure.reason is Reason.NEVER_READY


async def test_what_this_place_cannot_run_is_said_at_once(driver, observer, prepared):
    await driver.runtime.apply(driver.want(await prepared(driver), gpus=64))
    await eventually(lambda: observer.sets.get("end_a") and observer.sets["end_a"].failure)
    assert observer.sets["end_a"].failure.reason is Reason.UNSCHEDULABLE
    assert observer.workers() == []


@pytest.mark.parametrize("behaviour", ["serve", "import", "silent"])
async def test_delete_ends_in_gone_whatever_workers_do(driver, observer, prepared, behaviour):
    await driver.runtime.apply(driver.want(await prepared(driver), behaviour))
    await eventually(lambda: observer.workers())
    await driver.runtime.delete("end_a", 2)
    await eventually(lambda: "end_a" in observer.gone, timeout=20)
    assert "end_a" not in {state.endpoint_id for state in (await observer.look(driver.runtime)).sets}
    await driver.runtime.delete("end_a", 2)
    await eventually(lambda: observer.gone.count("end_a") == 2)


async def test_workers_outlive_what_serves_the_runtime(driver, observer, prepared):
    await driver.runtime.apply(driver.want(await prepared(driver), initial_replicas=2))
    before = await observer.ready(2)
    await driver.restart()
    await eventually(lambda: len(observer.snapshots) >= 2)
    assert observer.snapshots[-1].sets[0].workers == tuple(before)
    assert await observer.ready(2) == before
