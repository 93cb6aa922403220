"""Decisions as they happen: from zero, with the backlog, within the bounds, and none without data."""

import time

import pytest

from model_engine_chassis.topology_ensure import ensure_topology
from model_engine_contracts.endpoint_states import EndpointType
from model_engine_contracts.subjects import task_subject
from model_engine_contracts.topology import TASKS
from model_engine_local.testing import eventually

from .conftest import Bench


async def test_from_zero_on_a_wake_up_and_back(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint = await bench.create(EndpointType.SYNC)
    bench.start()
    # Also waits until somebody leads and knows the endpoint.
    await bench.wake_until(endpoint, 1)
    await bench.until_replicas(endpoint, 0)

    woken = time.monotonic()
    await bench.wake(endpoint)
    await bench.until_replicas(endpoint, 1)
    taken = time.monotonic() - woken

    up, down, again, *_ = await bench.decided(endpoint, 3)
    assert (up.from_workers, up.to_workers, up.reason) == (0, 1, "FROM_ZERO")
    assert up.inputs["waiting"] == 1
    assert (down.from_workers, down.to_workers, down.reason) == (1, 0, "TO_ZERO")
    assert (again.from_workers, again.to_workers, again.epoch) == (0, 1, up.epoch)
    with capsys.disabled():
        print(f"\nfrom the wake-up to the changed number of workers: {1000 * taken:.0f} ms")


async def test_the_workers_follow_the_backlog(bench: Bench) -> None:
    endpoint = await bench.create(EndpointType.ASYNC, per_worker=2, max_workers=4)
    await bench.submit(endpoint, 5)
    bench.start()
    await bench.until_replicas(endpoint, 3)
    await bench.submit(endpoint, 9)
    await bench.until_replicas(endpoint, 4)
    await bench.nats.jetstream().purge_stream(TASKS.name, subject=task_subject(endpoint))
    await bench.until_replicas(endpoint, 0)

    decisions = await bench.decided(endpoint, 3)
    assert [(fact.from_workers, fact.to_workers) for fact in decisions[:2]] == [(0, 3), (3, 4)]
    assert [fact.reason for fact in decisions[:2]] == ["FROM_ZERO", "BACKLOG"]
    assert decisions[0].inputs["backlog"] == 5
    assert decisions[0].inputs["per_worker"] == 2
    assert (decisions[-1].to_workers, decisions[-1].reason) == (0, "TO_ZERO")


async def test_a_backlog_that_cannot_be_read_takes_nobody_away(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    endpoint = await bench.create(EndpointType.ASYNC, workers=2)
    js = bench.nats.jetstream()
    await js.delete_stream(TASKS.name)
    bench.start()
    # Ten ticks are more than the windows after which an idle endpoint has no worker.
    await eventually(lambda: caplog.text.count("backlogs unknown") >= 10)
    assert bench.replicas[endpoint] == 2
    assert await bench.decisions(endpoint) == []
    await ensure_topology(js)
    await bench.until_replicas(endpoint, 0)


async def test_a_smaller_maximum_holds_at_once(bench: Bench) -> None:
    endpoint = await bench.create(EndpointType.ASYNC, max_workers=4)
    await bench.submit(endpoint, 10)
    bench.start()
    await bench.until_replicas(endpoint, 4)
    await bench.rescale(endpoint, max_workers=2)
    await bench.until_replicas(endpoint, 2)
    last = (await bench.decided(endpoint, 2))[-1]
    assert (last.from_workers, last.to_workers, last.reason) == (4, 2, "ABOVE_MAXIMUM")
    assert last.inputs["max_workers"] == 2
    await bench.rescale(endpoint, max_workers=0)
    await bench.until_replicas(endpoint, 0)
    assert (await bench.decided(endpoint, 3))[-1].reason == "DISABLED"


async def test_a_minimum_is_kept_without_demand(bench: Bench) -> None:
    endpoint = await bench.create(EndpointType.SYNC, min_workers=2)
    bench.start()
    await bench.until_replicas(endpoint, 2)
    assert [fact.reason for fact in await bench.decided(endpoint, 1)] == ["BELOW_MINIMUM"]
