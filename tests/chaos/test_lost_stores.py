"""JetStream's files and everything in Redis deleted, and every service restarted: MongoDB is the truth."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from model_engine import EndpointSettings
from model_engine_local.testing import eventually
from platform_under_test import Platform

QUEUED = 500
RUNNING = 50


def slow(x: int) -> dict[str, int]:
    import time

    time.sleep(0.4)
    return {"y": x + 1}


def quick(x: int) -> dict[str, int]:
    return {"y": x + 1}


@pytest.mark.timeout(240)
async def test_every_task_ends_once_and_no_worker_is_killed(platform: Platform) -> None:
    concurrent = {"concurrent_requests_per_worker": 20, "per_worker": 20, "min_workers": 3, "max_workers": 3}
    queue = platform.deploy("slow", slow, EndpointSettings(endpoint_type="async", **concurrent))
    serving = platform.deploy("quick", quick, EndpointSettings(endpoint_type="sync"))
    await eventually(lambda: len(platform.model_servers()) == 4, 30)
    workers = {process.pid for process in platform.model_servers()}

    with platform.client() as client, ThreadPoolExecutor(16) as pool:
        numbers = range(QUEUED + RUNNING)
        tasks = list(pool.map(lambda x: client.submit(queue.id, {"x": x}), numbers))
        nats_store = platform.folder / "nats" / "jetstream"
        platform.kill("nats")
        shutil.rmtree(nats_store, ignore_errors=True)
        redis.Redis.from_url(platform.running.redis_url).flushall()
        for name in ("gateway", "builder", "cache", "autoscaler", "agent"):
            platform.kill(name)

        results = list(pool.map(lambda task: client.wait_for_task(task, 180), tasks))
        assert results == [{"y": x + 1} for x in numbers]
        assert client.predict(serving.id, {"x": 1}, repeatable=True) == {"y": 2}
        again = [client.task(task) for task in tasks]
    assert all(task.status.value == "SUCCESS" for task in again), "a finished task never goes back"
    assert {process.pid for process in platform.model_servers()} == workers
