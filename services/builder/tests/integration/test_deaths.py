"""What becomes of a rollout when the builder that works on it dies, and of the work when there are two."""

import asyncio
from datetime import UTC, datetime

import pytest
from nats.js.errors import NotFoundError

from model_engine_builder.domain.rollout import RolloutPhase
from model_engine_builder.repository import ROLLOUTS
from model_engine_contracts.subjects import facts
from model_engine_contracts.topology import EVENTS
from model_engine_local.testing import eventually

from .conftest import Bench, spec_of

WHOLE = ["build started 1", "build succeeded 1", "rollout started 1", "rollout succeeded 1"]


@pytest.mark.parametrize("point", ["BEGUN", "PREPARING", "ROLLING_OUT", "SUCCEEDED"])
async def test_a_builder_dies_between_telling_and_remembering(bench: Bench, point: str) -> None:
    dying = await bench.start_builder_process("dying", crash_at=point)
    endpoint = await bench.create(spec_of({"SIM_START_SECONDS": 0.05}, ("sim-build-seconds=0.1",)))
    async with asyncio.timeout(20):
        assert await dying.wait() == -9
    bench.start_builder("heir")
    rollout = await bench.until(endpoint, RolloutPhase.SUCCEEDED)
    assert rollout.builder == "heir"
    assert await bench.said(endpoint) == WHOLE
    workers = await bench.workers(endpoint)
    assert workers is not None
    assert len(workers.workers) == 1


async def test_a_builder_dies_between_releasing_and_remembering(bench: Bench) -> None:
    end = bench.start_builder("first")
    endpoint = await bench.create(spec_of({}))
    await bench.until(endpoint, RolloutPhase.SUCCEEDED)
    await end()
    dying = await bench.start_builder_process("dying", crash_at="RELEASED")
    await bench.delete(endpoint, 2)
    async with asyncio.timeout(20):
        assert await dying.wait() == -9
    bench.start_builder("heir")
    await bench.until(endpoint, RolloutPhase.RELEASED, 2)
    assert (await bench.said(endpoint))[4:] == ["endpoint released 2"]
    assert await bench.workers(endpoint) is None


@pytest.mark.parametrize(
    ("phase", "script", "requirements"),
    [
        pytest.param(RolloutPhase.PREPARING, {}, ("sim-build-seconds=1.5",), id="in mid-preparation"),
        pytest.param(RolloutPhase.ROLLING_OUT, {"SIM_START_SECONDS": 1.5}, (), id="in mid-rollout"),
    ],
)
async def test_one_of_two_builders_is_killed_and_the_other_finishes(
    bench: Bench, phase: RolloutPhase, script: dict[str, float], requirements: tuple[str, ...]
) -> None:
    processes = {name: await bench.start_builder_process(name) for name in ("one", "two")}
    endpoint = await bench.create(spec_of(script, requirements))
    working = await bench.until(endpoint, phase)
    processes[working.builder].kill()
    rollout = await bench.until(endpoint, RolloutPhase.SUCCEEDED)
    assert {working.builder, rollout.builder} == {"one", "two"}
    assert [fact for fact in await bench.said(endpoint) if fact.startswith("rollout")] == WHOLE[2:]


async def test_two_builders_share_the_work(bench: Bench) -> None:
    for name in ("one", "two"):
        bench.start_builder(name)
    endpoints = [await bench.create(spec_of({"SIM_START_SECONDS": 0.02})) for _ in range(12)]
    builders = {(await bench.until(endpoint, RolloutPhase.SUCCEEDED)).builder for endpoint in endpoints}
    assert builders == {"one", "two"}
    for endpoint in endpoints:
        said = await bench.said(endpoint)
        assert len(said) == len(set(said))


async def test_a_desired_state_whose_event_was_lost_is_found_by_the_resync(bench: Bench) -> None:
    js = bench.nats.jetstream()
    endpoint = await bench.create(spec_of({}))
    await js.purge_stream(EVENTS.name)
    bench.start_builder()
    await bench.until(endpoint, RolloutPhase.SUCCEEDED)


async def test_an_outcome_that_was_lost_with_the_stream_is_told_again(bench: Bench) -> None:
    end = bench.start_builder()
    endpoint = await bench.create(spec_of({}))
    await bench.until(endpoint, RolloutPhase.SUCCEEDED)
    await end()
    js = bench.nats.jetstream()
    await js.delete_stream(EVENTS.name)
    # The endpoint's status, which nobody writes in this test, still does not show the success.
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    await bench.database[ROLLOUTS].update_one({"_id": endpoint}, {"$set": {"since": long_ago}})
    bench.start_builder()

    async def is_told() -> bool:
        try:
            return bool(await js.get_last_msg(EVENTS.name, facts("rollout", "succeeded", endpoint)))
        except NotFoundError:
            return False

    await eventually(is_told)
