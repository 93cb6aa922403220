"""Kill -9 of every process of the platform under load: accepted work is done once, and callers recover."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from model_engine import EndpointSettings
from model_engine_local.testing import eventually
from platform_under_test import Platform

TASKS = 40
CALLS = 40


def square(x: int) -> dict[str, int]:
    import time

    time.sleep(0.02)
    return {"y": x * x}


@pytest.fixture(scope="module")
def endpoints(platform: Platform) -> dict[str, str]:
    two = {"min_workers": 2, "max_workers": 2}
    return {
        "sync": platform.deploy("square-sync", square, EndpointSettings(endpoint_type="sync", **two)).id,
        "async": platform.deploy("square-async", square, EndpointSettings(endpoint_type="async", **two)).id,
    }


@pytest.mark.parametrize("victim", ["gateway", "builder", "cache", "autoscaler", "agent", "nats", "mongo", "valkey"])
async def test_the_death_of_one_process_loses_nothing(
    platform: Platform, endpoints: dict[str, str], victim: str
) -> None:
    workers = {process.pid for process in platform.model_servers()}
    with platform.client() as client, ThreadPoolExecutor(8) as pool:
        submitted = [pool.submit(client.submit, endpoints["async"], {"x": number}) for number in range(TASKS)]
        calls = [
            pool.submit(client.predict, endpoints["sync"], {"x": number}, repeatable=True) for number in range(CALLS)
        ]
        dead = platform.kill(victim)
        values: list[Any] = [call.result(60) for call in calls]
        results = [client.wait_for_task(task.result(60), 60) for task in submitted]
    assert values == [{"y": number * number} for number in range(CALLS)]
    assert results == [{"y": number * number} for number in range(TASKS)]
    revived = await eventually(lambda: platform.processes(victim), 30)
    assert dead not in [process.pid for process in revived]
    await eventually(platform.ready, 30)
    assert {process.pid for process in platform.model_servers()} == workers, "no worker was restarted by it"


async def test_the_death_of_a_worker_under_load_costs_nobody_a_task(
    platform: Platform, endpoints: dict[str, str]
) -> None:
    with platform.client() as client, ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(client.submit, endpoints["async"], {"x": number}) for number in range(TASKS)]
        ids = [task.result(60) for task in tasks]
        victim = next(
            process
            for process in platform.model_servers()
            if endpoints["async"] in " ".join(process.environ().values())
        )
        victim.kill()
        results = [client.wait_for_task(task, 90) for task in ids]
    assert results == [{"y": number * number} for number in range(TASKS)]
