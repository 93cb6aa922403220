"""From a document to workers that answer, and to the cause when they do not."""

import time
from typing import Any

import pytest
from nats.js.errors import NotFoundError

from model_engine_builder.domain.rollout import RolloutPhase
from model_engine_builder.domain.worker_set import Limits, environment_of, worker_set_of
from model_engine_contracts.documents import ENDPOINTS, EndpointDocument
from model_engine_contracts.endpoint_states import EndpointType
from model_engine_contracts.failures import Reason
from model_engine_contracts.subjects import task_subject
from model_engine_contracts.topology import TASKS, task_durable
from model_engine_local.testing import eventually
from model_engine_runtime.protocol import Preparation, PrepState, WorkerState

from .conftest import Bench, spec_of

SLOW_BUILD = ("sim-build-seconds=30",)


async def test_a_requested_endpoint_becomes_ready(bench: Bench) -> None:
    bench.start_builder()
    endpoint = await bench.create(spec_of({"SIM_START_SECONDS": 0.05}, ("sim-build-seconds=0.05",)))
    rollout = await bench.until(endpoint, RolloutPhase.SUCCEEDED)
    assert await bench.said(endpoint) == [
        "build started 1",
        "build succeeded 1",
        "rollout started 1",
        "rollout succeeded 1",
    ]
    workers = await bench.workers(endpoint)
    assert workers is not None
    assert [(worker.state, worker.revision) for worker in workers.workers] == [(WorkerState.READY, rollout.revision)]
    assert rollout.builder == "builder-1"


async def test_endpoints_share_an_environment_that_is_made_once(bench: Bench) -> None:
    bench.start_builder()
    first = await bench.create(spec_of({}, ("sim-build-seconds=0.3",)))
    second = await bench.create(spec_of({}, ("sim-build-seconds=0.3",)))
    keys = {(await bench.until(endpoint, RolloutPhase.SUCCEEDED)).environment_key for endpoint in (first, second)}
    assert {preparation.key for preparation in (await bench.snapshot()).preparations} == keys
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("script", "requirements", "code", "facts"),
    [
        ({}, ("sim-build-fails=REQUIREMENTS_UNRESOLVABLE",), Reason.REQUIREMENTS_UNRESOLVABLE, "build failed 1"),
        ({"SIM_START_FAILS": "IMPORT_ERROR"}, (), Reason.IMPORT_ERROR, "rollout started 1"),
        ({"SIM_START_FAILS": "EXITED"}, (), Reason.EXITED, "rollout started 1"),
    ],
)
async def test_a_failure_has_its_cause_and_remedy(
    bench: Bench, script: dict[str, str], requirements: tuple[str, ...], code: Reason, facts: str
) -> None:
    bench.start_builder()
    endpoint = await bench.create(spec_of(script, requirements))
    await bench.until(endpoint, RolloutPhase.FAILED)
    assert (await bench.said(endpoint))[-2:] == [facts, "rollout failed 1"]
    failure = (await bench.facts(endpoint))[-1].data.failure
    assert (failure.code, failure.exit_code) == (code, 1)
    assert failure.remedy


async def test_a_failed_update_leaves_the_last_good_revision_serving(bench: Bench) -> None:
    bench.start_builder()
    endpoint = await bench.create(spec_of({}))
    good = await bench.until(endpoint, RolloutPhase.SUCCEEDED)
    before = await bench.workers(endpoint)
    await bench.update(endpoint, spec_of({"SIM_START_FAILS": "IMPORT_ERROR"}), 2)
    await bench.until(endpoint, RolloutPhase.FAILED, 2)

    async def is_put_back() -> bool:
        state = await bench.workers(endpoint)
        assert state is not None
        assert (state.generation, state.revision) == (2, good.revision)
        assert before is not None
        # The worker that served all the while is the only one left.
        assert [worker.id for worker in state.workers] == [worker.id for worker in before.workers]
        return True

    await eventually(is_put_back)
    assert (await bench.facts(endpoint))[-1].data.serving_revision == good.revision
    await bench.update(endpoint, spec_of({"SIM_START_SECONDS": 0.01}), 3)
    await bench.until(endpoint, RolloutPhase.SUCCEEDED, 3)


async def test_a_change_of_scaling_touches_no_worker(bench: Bench) -> None:
    bench.start_builder()
    spec = spec_of({})
    endpoint = await bench.create(spec)
    await bench.until(endpoint, RolloutPhase.SUCCEEDED)
    before = await bench.workers(endpoint)
    scaling = spec.scaling.model_copy(update={"max_workers": 9, "min_workers": 0})
    await bench.update(endpoint, spec.model_copy(update={"scaling": scaling}), 2)
    await bench.until(endpoint, RolloutPhase.SUCCEEDED, 2)
    after = await bench.workers(endpoint)
    assert before is not None
    assert after is not None
    assert (after.generation, after.revision, after.workers) == (2, before.revision, before.workers)
    assert (await bench.said(endpoint))[4:] == ["rollout succeeded 2"]


async def test_a_newer_generation_pre_empts_a_build(bench: Bench) -> None:
    bench.start_builder()
    endpoint = await bench.create(spec_of({}, SLOW_BUILD))
    await eventually(lambda: _said(bench, endpoint, "build started 1"))
    started = time.monotonic()
    await bench.update(endpoint, spec_of({}), 2)
    await bench.until(endpoint, RolloutPhase.SUCCEEDED, 2)
    assert time.monotonic() - started < 15  # it did not wait for the build, which takes twice as long
    assert "rollout succeeded 1" not in await bench.said(endpoint)


async def test_deletion_leaves_nothing(bench: Bench) -> None:
    bench.start_builder()
    endpoint = await bench.create(spec_of({}, kind=EndpointType.ASYNC))
    await bench.until(endpoint, RolloutPhase.SUCCEEDED)
    js = bench.nats.jetstream()
    await js.consumer_info(TASKS.name, task_durable(endpoint))
    await js.publish(task_subject(endpoint), b"{}", stream=TASKS.name)
    await bench.delete(endpoint, 2)
    await bench.until(endpoint, RolloutPhase.RELEASED, 2)
    assert (await bench.said(endpoint))[-1] == "endpoint released 2"
    assert await bench.workers(endpoint) is None
    stream = (await js.stream_info(TASKS.name)).state
    assert (stream.consumer_count, stream.messages) == (0, 0)


async def test_deletion_in_mid_build_is_not_undone_by_its_end(bench: Bench) -> None:
    bench.start_builder()
    endpoint = await bench.create(spec_of({}, ("sim-build-seconds=0.5",)))
    await eventually(lambda: _said(bench, endpoint, "build started 1"))
    await bench.delete(endpoint, 2)
    await bench.until(endpoint, RolloutPhase.RELEASED, 2)

    async def is_built() -> bool:
        return [preparation.state.value for preparation in (await bench.snapshot()).preparations] == ["READY"]

    await eventually(is_built)
    assert await bench.workers(endpoint) is None
    assert (await bench.said(endpoint))[-1] == "endpoint released 2"


async def test_a_rollout_fails_without_its_runtime_and_goes_on_when_it_is_back(bench: Bench) -> None:
    stop_agent, agent = bench.stops.pop()
    stop_agent.set()
    await agent
    bench.start_builder(runtime_grace_seconds=0.3)
    endpoint = await bench.create(spec_of({}))
    failed = await bench.until(endpoint, RolloutPhase.FAILED)
    assert failed.failure is not None
    assert failed.failure.code is Reason.RUNTIME_UNAVAILABLE
    bench.start_agent()
    rollout = await bench.until(endpoint, RolloutPhase.SUCCEEDED, timeout=20)
    assert rollout.attempt >= 1


async def test_a_runtime_of_another_installation_is_not_touched(bench: Bench) -> None:
    theirs = spec_of({})
    environment = await bench.runtime.prepare(environment_of(theirs, Limits()))
    await eventually(lambda: _is_prepared(bench, environment.key))
    document = EndpointDocument.model_validate(await _document(bench, await bench.create(theirs, "end_theirs")))
    await bench.runtime.apply(worker_set_of(document, theirs, environment.key, "another", Limits()))
    await bench.database[ENDPOINTS].delete_many({})
    bench.start_builder(runtime_grace_seconds=0.3)
    endpoint = await bench.create(spec_of({}))
    failed = await bench.until(endpoint, RolloutPhase.FAILED)
    assert failed.failure is not None
    assert failed.failure.code is Reason.RUNTIME_UNAVAILABLE
    assert "another installation" in failed.failure.message
    assert [state.endpoint_id for state in (await bench.snapshot()).sets] == ["end_theirs"]


async def test_what_the_runtime_refuses_fails_with_its_words(bench: Bench) -> None:
    bench.start_builder()
    spec = spec_of({})
    bundle = spec.bundle.model_copy(update={"python": "2.7"})
    endpoint = await bench.create(spec.model_copy(update={"bundle": bundle}))
    failed = await bench.until(endpoint, RolloutPhase.FAILED)
    assert failed.failure is not None
    assert "2.7" in failed.failure.message


async def test_a_lost_queue_is_made_again(bench: Bench) -> None:
    bench.start_builder()
    endpoint = await bench.create(spec_of({}, kind=EndpointType.ASYNC))
    await bench.until(endpoint, RolloutPhase.SUCCEEDED)
    js = bench.nats.jetstream()
    before = await bench.workers(endpoint)
    await js.delete_stream(TASKS.name)

    async def is_back() -> bool:
        try:
            return [info.name for info in await js.consumers_info(TASKS.name)] == [task_durable(endpoint)]
        except NotFoundError:
            return False

    await eventually(is_back)
    assert await bench.workers(endpoint) == before


async def _is_prepared(bench: Bench, key: str) -> bool:
    return Preparation(key, PrepState.READY) in [
        Preparation(preparation.key, preparation.state) for preparation in (await bench.snapshot()).preparations
    ]


async def _document(bench: Bench, endpoint: str) -> Any:
    return await bench.database[ENDPOINTS].find_one({"_id": endpoint})


async def _said(bench: Bench, endpoint: str, fact: str) -> bool:
    return fact in await bench.said(endpoint)
