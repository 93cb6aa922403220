"""The model server as a process: what it answers, how it waits its turn, how it stops."""

import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
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


def events_of(text: str) -> list[Any]:
    return [json.loads(block.removeprefix("data: ")) for block in text.split("\r\n\r\n") if block]


def test_a_loaded_bundle_answers_as_existing_clients_expect(start: Any) -> None:
    bundle = {
        "load_model_fn": lambda config: config["factor"],
        "load_predict_fn": lambda config, model: lambda y: {"y": y * model, "ü": [1, 2]},
    }
    with start(bundle, USER_CONFIG='{"factor": 3}').client() as client:
        for route in ("/readyz", "/healthz", "/healthcheck"):
            answer = client.get(route)
            assert (answer.status_code, answer.content) == (200, b"")
        # The forwarder hands the envelope over whole, nulls included.
        envelope = {"url": None, "args": {"y": 2}, "cloudpickle": None, "callback_url": None, "return_pickled": False}
        answer = client.post("/predict", json=envelope)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == {"result": '{"y": 6, "\\u00fc": [1, 2]}'}
        assert client.get("/predict").status_code == 405
        assert client.post("/nothing").status_code == 404


def test_exceptions_and_bad_input_are_told_apart(start: Any) -> None:
    def predict(kind: str) -> Any:
        import sys

        if kind == "exit":
            sys.exit(1)
        if kind == "object":
            return object()
        raise KeyError("the reason")

    with start(predict).client() as client:
        raised = client.post("/predict", json={"args": {"kind": "raise"}})
        assert raised.status_code == 500
        lines = raised.json()["detail"]["traceback"].splitlines()
        assert lines[-1] == "KeyError: 'the reason'"
        assert sum(line.lstrip().startswith("File ") for line in lines) == 1, "only the user's frame"
        for kind, said in (("exit", "SystemExit"), ("object", "type object")):
            answer = client.post("/predict", json={"args": {"kind": kind}})
            assert answer.status_code == 500
            assert said in answer.json()["detail"]["traceback"]
        assert client.post("/predict", json={"args": {"other": 1}}).status_code == 500
        for body, field in (
            ({}, "no input"),
            ({"args": [1]}, "args:"),
            ({"url": 5}, "url:"),
            ({"url": "file:///etc/passwd"}, "url:"),
            ({"cloudpickle": "s3://bucket/key"}, "cloudpickle:"),
            ({"args": {"kind": "x"}, "return_pickled": True}, "return_pickled:"),
            ([1], "object"),
        ):
            answer = client.post("/predict", json=body)
            assert answer.status_code == 400, body
            assert field in answer.json()["detail"]
        for content in (b"{", b"\xff", b"[" * 100_000):
            assert client.post("/predict", content=content).status_code == 400


@pytest.fixture
def files_url() -> Iterator[str]:
    """An HTTP server with ten bytes at /data, a redirect to them at /moved, one to a local file at /local."""

    class Files(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            targets = {"/moved": "/data", "/local": "file:///etc/hostname"}
            if self.path in targets:
                self.send_response(302)
                self.send_header("location", targets[self.path])
                self.end_headers()
                return
            self.send_response(200 if self.path == "/data" else 404)
            self.end_headers()
            self.wfile.write(bytes(range(10)))

        def log_message(self, *arguments: Any) -> None:
            """Keep the test's output clean."""

    with HTTPServer(("127.0.0.1", 0), Files) as files:
        serving = threading.Thread(target=files.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{files.server_address[1]}"
        files.shutdown()
        serving.join()


def test_a_url_input_becomes_bytes_within_its_limits(start: Any, files_url: str) -> None:
    with start(lambda data: list(data)).client() as client:
        for path in ("/data", "/moved"):
            answer = client.post("/predict", json={"url": files_url + path, "args": {"loses": "to url"}})
            assert answer.json() == {"result": str(list(range(10)))}
        for path in ("/missing", "/local"):
            answer = client.post("/predict", json={"url": files_url + path})
            assert (answer.status_code, answer.json()["detail"][:4]) == (400, "url:")
    with start(lambda data: list(data), ME_URL_MAX_BYTES="9").client() as client:
        answer = client.post("/predict", json={"url": files_url + "/data"})
        assert (answer.status_code, answer.json()["detail"]) == (400, "url: the object is larger than 9 bytes.")


def make_plain() -> Any:
    def predict(n: int) -> Any:
        return n

    return predict


def make_async() -> Any:
    async def predict(n: int) -> Any:
        import asyncio

        await asyncio.sleep(0)
        return n

    return predict


def make_generator() -> Any:
    def predict(n: int) -> Any:
        for i in range(n):
            yield {"i": i}

    return predict


def make_async_generator() -> Any:
    async def predict(n: int) -> Any:
        for i in range(n):
            yield {"i": i}

    return predict


def make_numpy() -> Any:
    def predict(n: int) -> Any:
        import numpy

        return {"array": numpy.arange(n), "scalar": numpy.float64(0.5)}

    return predict


@pytest.mark.parametrize(
    ("make", "predicted", "streamed"),
    [
        (make_plain, 3, [3]),
        (make_async, 3, [3]),
        (make_generator, [{"i": 0}, {"i": 1}, {"i": 2}], [{"i": 0}, {"i": 1}, {"i": 2}]),
        (make_async_generator, [{"i": 0}, {"i": 1}, {"i": 2}], [{"i": 0}, {"i": 1}, {"i": 2}]),
        (make_numpy, {"array": [0, 1, 2], "scalar": 0.5}, [{"array": [0, 1, 2], "scalar": 0.5}]),
    ],
)
def test_every_shape_of_function_answers_on_both_routes(start: Any, make: Any, predicted: Any, streamed: Any) -> None:
    with start(make(), ME_MODEL_CONCURRENCY="2").client() as client:
        result = json.loads(client.post("/predict", json={"args": {"n": 3}}).json()["result"])
        answer = client.post("/stream", json={"args": {"n": 3}})
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        events = events_of(answer.text)
        assert (result, events) == (predicted, streamed)


def test_a_generator_stays_on_one_thread(start: Any) -> None:
    def predict(n: int) -> Any:
        import threading

        for _ in range(n):
            yield threading.get_ident()

    with start(predict, ME_MODEL_CONCURRENCY="4").client() as client, ThreadPoolExecutor(4) as pool:
        streams = list(pool.map(lambda _: client.post("/stream", json={"args": {"n": 20}}), range(4)))
        assert [len(set(events_of(stream.text))) for stream in streams] == [1, 1, 1, 1]


def test_a_stream_that_breaks_says_why_and_is_left_unfinished(start: Any) -> None:
    def predict(after: int) -> Any:
        yield from range(after)
        raise ValueError("no more")

    with start(predict).client() as client:
        before = client.post("/stream", json={"args": {"after": 0}})
        assert before.status_code == 500
        assert "no more" in before.json()["detail"]["traceback"]
        received = []
        with (
            client.stream("POST", "/stream", json={"args": {"after": 2}}) as answer,
            pytest.raises(httpx.RemoteProtocolError),
        ):
            received.extend(answer.iter_lines())
        assert [line for line in received if line][:3] == ["data: 0", "data: 1", "event: error"]
        assert client.post("/stream", json={}).status_code == 400


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
