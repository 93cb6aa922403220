"""The model server as a process under load and at its ends: turns, clients that leave, drain, failures to load."""

import json
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest


def gate() -> Callable[..., Any]:
    """A predict function that marks its start with a file `<name>.started` and ends when `<name>.go` exists."""

    def predict(name: str) -> str:
        import pathlib
        import time

        pathlib.Path(name + ".started").touch()
        deadline = time.monotonic() + 20
        while not pathlib.Path(name + ".go").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return name

    return predict


def test_calls_wait_for_their_turn_up_to_the_bound(start: Any, until: Any, tmp_path: Path) -> None:
    server = start(gate(), ME_MODEL_QUEUE_SIZE="1")
    with server.client() as client, ThreadPoolExecutor(3) as pool:
        first = pool.submit(client.post, "/predict", json={"args": {"name": str(tmp_path / "a")}})
        until((tmp_path / "a.started").exists)
        others = [pool.submit(client.post, "/predict", json={"args": {"name": str(tmp_path / "b")}}) for _ in range(2)]
        # One of the two finds the queue full and is told so while the first call still runs.
        refused = until(lambda: [call.result() for call in others if call.done()])[0]
        assert (refused.status_code, refused.json()) == (429, {"detail": "Too many requests"})
        assert not first.done()
        assert not (tmp_path / "b.started").exists()
        assert client.get("/readyz").status_code == 200
        (tmp_path / "a.go").touch()
        (tmp_path / "b.go").touch()
        assert first.result().status_code == 200
        assert sorted(call.result().status_code for call in others) == [200, 429]


def test_calls_run_at_once_up_to_the_concurrency(start: Any, until: Any, tmp_path: Path) -> None:
    with start(gate(), ME_MODEL_CONCURRENCY="2").client() as client, ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(client.post, "/predict", json={"args": {"name": str(tmp_path / n)}}) for n in "ab"]
        until(lambda: (tmp_path / "a.started").exists() and (tmp_path / "b.started").exists())
        (tmp_path / "a.go").touch()
        (tmp_path / "b.go").touch()
        assert [call.result().status_code for call in calls] == [200, 200]


def endless(marker: str, asynchronous: bool) -> Any:
    def close() -> None:
        import pathlib

        pathlib.Path(marker).touch()

    def predict() -> Any:
        try:
            while True:
                yield "x" * 1000
        finally:
            close()

    async def predict_async() -> Any:
        import asyncio

        try:
            while True:
                await asyncio.sleep(0.001)
                yield "x" * 1000
        finally:
            close()

    return predict_async if asynchronous else predict


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("route", ["/stream", "/predict"])
def test_a_client_that_leaves_stops_the_generator_and_frees_its_slot(
    start: Any, until: Any, tmp_path: Path, asynchronous: bool, route: str
) -> None:
    server = start(endless(str(tmp_path / "closed"), asynchronous), ME_MODEL_QUEUE_SIZE="0")
    with server.client() as client:
        if route == "/stream":
            with client.stream("POST", route, json={"args": {}}) as answer:
                assert next(answer.iter_lines()).startswith("data: ")
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post(route, json={"args": {}}, timeout=0.3)
        until((tmp_path / "closed").exists)

        # The only slot is free again: the next call is not refused.
        def accepted() -> bool:
            with client.stream("POST", "/stream", json={"args": {}}) as answer:
                return answer.status_code == 200

        until(accepted)


def test_sigterm_lets_running_calls_finish(start: Any, until: Any, tmp_path: Path) -> None:
    server = start(gate())
    with server.client() as client, ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.post, "/predict", json={"args": {"name": str(tmp_path / "a")}})
        until((tmp_path / "a.started").exists)
        server.terminate()

        def refused() -> bool:
            try:
                httpx.get(f"{client.base_url}/readyz")
            except httpx.ConnectError:
                return True
            return False

        until(refused)
        (tmp_path / "a.go").touch()
        assert call.result().status_code == 200
    assert server.wait() == 0


def test_a_call_that_outlives_the_drain_does_not_keep_the_process(start: Any, until: Any, tmp_path: Path) -> None:
    server = start(gate(), ME_DRAIN_SECONDS="0")
    with server.client() as client, ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.post, "/predict", json={"args": {"name": str(tmp_path / "a")}})
        until((tmp_path / "a.started").exists)
        server.terminate()
        assert server.wait() == 1
        assert call.result().status_code == 500
    assert "1 calls were still running" in server.log


def test_a_bundle_that_does_not_load_leaves_the_reason_behind(start: Any) -> None:
    def load_model_fn() -> Any:
        raise RuntimeError("weights are missing")

    server = start({"load_model_fn": load_model_fn, "load_predict_fn": lambda model: None})
    assert server.wait() == 1
    record = json.loads(server.termination_path.read_text())
    assert record["code"] == "MODEL_LOAD_FAILED"
    assert record["message"] == "load_model_fn raised RuntimeError: weights are missing"
    assert "in load_model_fn" in record["traceback"]
    assert "weights are missing" in server.log


def test_a_zip_bundle_is_served_and_its_folder_removed(start: Any, tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "bundle_code.py", "def load_model(c): return 2\ndef load_predict(c, m): return lambda x: x * m\n"
        )
    names = {
        "ME_LOAD_PREDICT_FN_MODULE_PATH": "bundle_code.load_predict",
        "ME_LOAD_MODEL_FN_MODULE_PATH": "bundle_code.load_model",
    }
    server = start(artifact=path, ME_BUNDLE_KIND="zip", **names)
    with server.client() as client:
        assert client.post("/predict", json={"args": {"x": 4}}).json() == {"result": "8"}
    server.terminate()
    assert server.wait() == 0
    assert not list(tmp_path.rglob("bundle-*"))


def test_wrong_settings_end_the_process_with_the_list(start: Any) -> None:
    server = start(lambda: None, ME_BUNDLE_KIND="lira", ME_MODEL_CONCURRENCY="none")
    assert server.wait() == 78
    assert "ME_BUNDLE_KIND" in server.log
    assert "ME_MODEL_CONCURRENCY" in server.log
