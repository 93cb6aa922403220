"""One leads: what becomes of scaling when the leader is killed, and of a leader that is not one any more."""

import time

import pytest

from model_engine_contracts.endpoint_states import EndpointType
from model_engine_local.testing import eventually
from model_engine_runtime.errors import StaleLeader

from .conftest import Bench


async def test_the_standby_takes_over_from_a_killed_leader(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint = await bench.create(EndpointType.SYNC)
    for name in ("one", "two"):
        await bench.start_process(name)
    await bench.wake_until(endpoint, 1)
    leader, epoch = await bench.leader()
    await bench.until_replicas(endpoint, 0)

    killed = time.monotonic()
    bench.processes[leader].kill()
    await bench.wake_until(endpoint, 1)
    taken = time.monotonic() - killed

    heir, higher = await bench.leader()
    assert {leader, heir} == {"one", "two"}
    assert higher > epoch
    assert (await bench.decided(endpoint, 3))[-1].epoch == higher
    with pytest.raises(StaleLeader):
        await bench.runtime.scale(endpoint, 4, epoch)
    assert bench.replicas[endpoint] == 1
    with capsys.disabled():
        print(f"\nfrom the leader's death to the standby's first decision: {taken:.2f} s")


async def test_a_leader_that_was_superseded_stands_back(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    endpoint = await bench.create(EndpointType.SYNC)
    await bench.runtime.scale(endpoint, 0, 3)
    bench.start()
    # Its epochs begin at 1: it is refused, gives the lease back, and leads anew under the next epoch.
    await bench.wake_until(endpoint, 1)
    assert "the leader's work failed" in caplog.text
    assert (await bench.decided(endpoint, 1))[0].epoch >= 3
    _, epoch = await bench.leader()
    assert epoch >= 3
    await eventually(lambda: bench.replicas[endpoint] == 0)
