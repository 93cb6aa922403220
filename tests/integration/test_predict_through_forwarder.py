"""A worker as users see it: the model server behind the forwarder, each a process of its own."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import httpx
import pytest
import yaml

from model_engine_local.testing import wait_until


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Start a module as a process and give what its log says by a pattern."""
    processes: list[subprocess.Popen[bytes]] = []

    def start_module(pattern: str, module: str, *arguments: str, **environ: str) -> str:
        log = tmp_path / f"{module}.log"
        with log.open("wb") as output:
            command = [sys.executable, "-m", module, *arguments]
            env = {"PATH": os.environ["PATH"], **environ}
            processes.append(subprocess.Popen(command, env=env, stdout=output, stderr=output))

        def first_match() -> str | None:
            assert processes[-1].poll() is None, log.read_text()
            found = re.search(pattern, log.read_text())
            return found and found[1]

        return wait_until(first_match, 30)

    yield start_module
    for process in reversed(processes):
        process.kill()
        process.wait()


@pytest.fixture
def worker(start: Callable[..., str], tmp_path: Path) -> Callable[[Any], httpx.Client]:
    """A client of a worker that runs the given predict function, configured as the platform does for bundles."""

    def run(predict: Any) -> httpx.Client:
        artifact, config = tmp_path / "artifact", tmp_path / "forwarder.yaml"
        artifact.write_bytes(cloudpickle.dumps(predict))
        environ = {"PORT": "0", "ME_BUNDLE_KIND": "cloudpickle", "ME_ARTIFACT_PATH": str(artifact)}
        port = int(start(r"running on http://127\.0\.0\.1:(\d+)", "model_engine_model_server", **environ))
        block = {"user_port": port, "model_engine_unwrap": False, "serialize_results_as_string": False}
        sync = {**block, "wrap_response": False, "forward_http_status": True}
        config.write_text(
            yaml.safe_dump({"forwarder": {"sync": sync, "stream": {**block, "predict_route": "/stream"}}})
        )
        flags = ("--config", str(config), "--num-workers", "1", "--host", "127.0.0.1", "--port", "0")
        address = start(r'"port": (\d+)', "model_engine_forwarder", *flags)
        url = f"http://127.0.0.1:{address}"
        wait_until(lambda: is_ready(url))
        return httpx.Client(base_url=url, timeout=20)

    return run


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.ConnectError:
        return False


def test_each_yielded_value_is_the_payload_of_one_event(worker: Callable[[Any], httpx.Client]) -> None:
    def predict(n: int) -> Any:
        for i in range(n):
            yield {"i": i}
        raise ValueError("no more")

    with worker(predict) as client:
        lines = [line for line in client.post("/stream", json={"args": {"n": 2}}).text.splitlines() if line]
        assert [json.loads(line.removeprefix("data: ")) for line in lines[:2]] == [
            {"result": {"i": 0}},
            {"result": {"i": 1}},
        ]
        assert lines[2] == "event: error"
        error = json.loads(lines[3].removeprefix("data: "))["error"]
        assert (error["code"], error["status_code"]) == ("PREDICTION_FAILED", 500)
        assert error["message"].endswith("ValueError: no more\n")
        assert len(lines) == 4

        early = client.post("/stream", json={"args": {"n": 0}})
        assert early.status_code == 500
        assert early.json()["detail"]["detail"]["traceback"].endswith("ValueError: no more\n")


def test_results_errors_and_bad_input_reach_the_caller_unchanged(worker: Callable[[Any], httpx.Client]) -> None:
    with worker(lambda y: {"y": 1 // y}) as client:
        assert client.post("/predict", json={"args": {"y": 1}}).json() == {"result": '{"y": 1}'}
        failed = client.post("/predict", json={"args": {"y": 0}})
        assert failed.status_code == 500
        assert "ZeroDivisionError" in failed.json()["detail"]["traceback"]
        refused = client.post("/predict", json={"args": [1]})
        assert (refused.status_code, refused.json()["detail"][:5]) == (400, "args:")
