"""What only real processes do: their ends explained, their surroundings, what they leave behind."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import cloudpickle
import psutil
import pytest

from model_engine_chassis.upstream import UpstreamPool
from model_engine_contracts.failures import Reason
from model_engine_local.testing import eventually
from model_engine_runtime.agent.process.leftovers import processes_of
from model_engine_runtime.agent_client import AgentRuntime
from model_engine_runtime.errors import RuntimeUnavailable
from model_engine_runtime.protocol import Environment, PrepState, WorkerState

pytestmark = pytest.mark.parametrize("driver", ["process"], indirect=True)


async def predict(worker, args=None):
    host, port = worker.address.split(":")
    body = json.dumps({"args": args or {}}).encode()
    pool = UpstreamPool(connect_timeout=2.0)
    async with pool.request(
        host, int(port), b"POST", b"/predict", [(b"content-type", b"application/json")], body
    ) as got:
        assert got.status == 200
        answer = json.loads(await got.read(1 << 20))
    pool.close()
    return answer["result"]


def content(path):
    return Path(path).read_bytes(), Path(path).stat().st_mode & 0o777


def failure_in(observer):
    known = observer.sets.get("end_a")
    return known and known.failure


async def test_the_forwarder_answers_for_the_model(driver, observer, prepared, monkeypatch):
    monkeypatch.setenv("ME_ADMIN_TOKEN", "secret of the platform")
    want = driver.want(
        await prepared(driver),
        env={"ART": "{artifact}", "TOKEN_FILE": "{secrets}/token", "PYTHON": "{python}"},
        secrets={"token": b"s3cret"},
    )
    await driver.runtime.apply(want)
    [worker] = await observer.ready()
    said = await predict(worker, {"x": 1})
    env = said["env"]
    assert said["body"]["args"] == {"x": 1}
    assert not {name for name in env if name.startswith("ME_")} - {
        "ME_TERMINATION_FILE",
        "ME_WORKER_RUN",
        "ME_DRAIN_SECONDS",
    }
    assert driver.settings.nats_url not in env.values()
    assert Path(env["PYTHON"]).is_relative_to(driver.folder.parent.parent)
    assert Path(env["ART"]).name == "artifact"
    assert said["cwd"].startswith(str(driver.folder))
    assert content(env["TOKEN_FILE"]) == (b"s3cret", 0o600)
    renewed = driver.want(want.environment_key, env=dict(want.env), secrets={"token": b"newer"})
    assert renewed.revision == want.revision
    await driver.runtime.apply(renewed)
    assert content(env["TOKEN_FILE"]) == (b"newer", 0o600)


async def test_an_exit_at_start_comes_with_code_and_last_lines(driver, observer, prepared):
    await driver.runtime.apply(driver.want(await prepared(driver), "exit"))
    failure = await eventually(lambda: failure_in(observer))
    assert (failure.reason, failure.exit_code) == (Reason.EXITED, 3)
    assert failure.log_tail.splitlines()[-1] == "the reason is here"


@pytest.mark.parametrize(
    ("behaviour", "reason"), [("elsewhere", Reason.PORT_CLOSED), ("unhealthy", Reason.PROBE_FAILED)]
)
async def test_a_server_that_is_not_ready_is_diagnosed(driver, observer, prepared, behaviour, reason):
    await driver.runtime.apply(driver.want(await prepared(driver), behaviour, start_deadline_s=1.5))
    failure = await eventually(lambda: failure_in(observer), timeout=20)
    assert failure.reason is reason


async def test_a_worker_beyond_its_memory_is_stopped(driver, observer, prepared):
    await driver.runtime.apply(driver.want(await prepared(driver), "hungry", memory_bytes=100 << 20))
    failure = await eventually(lambda: failure_in(observer), timeout=20)
    assert (failure.reason, failure.exit_code) == (Reason.OUT_OF_MEMORY, 137)
    assert "100 MiB" in failure.message


async def test_a_killed_model_is_seen_and_replaced(driver, observer, prepared):
    await driver.runtime.apply(driver.want(await prepared(driver)))
    [worker] = await observer.ready()
    os.kill((await predict(worker))["pid"], signal.SIGKILL)
    await eventually(lambda: observer.workers()[0].restarts == 1)
    [seen] = {w for state in observer.history for w in state.workers if w.state is WorkerState.BACKOFF}
    assert (seen.failure.reason, seen.failure.exit_code) == (Reason.EXITED, 137)
    [again] = await observer.ready()
    assert (again.id, again.restarts) == (worker.id, 1)


async def test_a_killed_supervisor_takes_its_worker_along(driver, observer, prepared):
    await driver.runtime.apply(driver.want(await prepared(driver)))
    [worker] = await observer.ready()
    model = psutil.Process((await predict(worker))["pid"])
    model.parent().kill()
    await eventually(lambda: observer.workers()[0].restarts == 1)
    await observer.ready()
    assert not model.is_running()


async def test_delete_leaves_no_process_and_no_file(driver, observer, prepared):
    await driver.runtime.apply(driver.want(await prepared(driver), "daemon", initial_replicas=2))
    await observer.ready(2)
    assert len(list(processes_of(driver.folder))) >= 8
    await driver.runtime.delete("end_a", 1)
    await eventually(lambda: "end_a" in observer.gone, timeout=20)
    assert list(processes_of(driver.folder)) == []
    assert list((driver.folder / "workers").iterdir()) == []
    assert list((driver.folder / "sets").iterdir()) == []


async def test_logs_of_runs_and_builds(driver, observer, prepared):
    key = await prepared(driver)
    await driver.runtime.apply(driver.want(key, env={"FAKE_SAYS": "hello from user code"}))
    [worker] = await observer.ready()
    assert "hello from user code\n" in "".join([piece async for piece in driver.runtime.logs("end_a", worker.id)])
    assert f"[{worker.id}] the model starts" in "".join([piece async for piece in driver.runtime.logs("end_a")])
    followed = []

    async def follow():
        async for piece in driver.runtime.logs("end_a", worker.id, follow=True):
            followed.append(piece)

    following = asyncio.create_task(follow())
    await eventually(lambda: followed)
    os.kill((await predict(worker))["pid"], signal.SIGKILL)
    await eventually(lambda: "".join(followed).count("the model starts") == 2, timeout=20)
    [worker] = await observer.ready()
    before = [piece async for piece in driver.runtime.logs("end_a", worker.id, previous=True)]
    assert "".join(before).count("the model starts") == 1
    await driver.runtime.delete("end_a", 1)
    await asyncio.wait_for(following, 20)


async def test_a_bundle_from_its_artifact_to_its_answer(driver, observer, serve_bytes):
    artifact = cloudpickle.dumps({"model": 3, "load_predict_fn": lambda model: lambda x: x * model})
    url, sha256 = serve_bytes(artifact)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    environment = Environment(python=version, artifact_sha256=sha256, artifact_url=url)
    key = (await driver.runtime.prepare(environment)).key
    await eventually(lambda: key in observer.preparations and observer.preparations[key].state is PrepState.READY, 60)
    env = {"PORT": "{port}", "ME_BUNDLE_KIND": "cloudpickle", "ME_ARTIFACT_PATH": "{artifact}"}
    await driver.runtime.apply(driver.want(key, command=("{python}", "-m", "model_engine_model_server"), env=env))
    [worker] = await observer.ready()
    assert await predict(worker, {"x": 5}) == "15"
    build_log = "".join([piece async for piece in driver.runtime.logs(key)])
    assert "uvicorn" in build_log


async def test_workers_outlive_kill_9_of_the_agent(driver, observer, prepared, tmp_path):
    key = await prepared(driver)
    await driver.stop_agent()
    async with driver.agent_process() as first:
        await driver.runtime.apply(driver.want(key, initial_replicas=2))
        await eventually(lambda: len(observer.workers(WorkerState.READY)) == 2, timeout=30)
        before = observer.workers()
        pids = {(await predict(worker))["pid"] for worker in before}
        first.kill()
        await asyncio.to_thread(first.wait)
        assert {(await predict(worker))["pid"] for worker in before} == pids
        with pytest.raises(RuntimeUnavailable):
            await AgentRuntime(driver.nats, "test").release("nothing")
    observer.snapshots.clear()
    async with driver.agent_process():
        await eventually(lambda: observer.snapshots)
        assert observer.workers() == before
        assert {(await predict(worker))["pid"] for worker in observer.workers()} == pids
        await driver.runtime.delete("end_a", 1)
        await eventually(lambda: "end_a" in observer.gone, timeout=20)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    await driver.start_agent()
