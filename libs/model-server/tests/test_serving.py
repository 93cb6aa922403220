"""What the model server answers, seen from outside its process."""

import json
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest


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


class _Storage(BaseHTTPRequestHandler):
    stored: dict[str, bytes]

    def do_PUT(self) -> None:
        self.stored[self.path] = self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps({"result_url": f"http://gateway{self.path}/content"}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        body = self.stored[self.path]
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Silence."""


@pytest.fixture
def storage() -> Iterator[tuple[str, dict[str, bytes]]]:
    handler = type("Storage", (_Storage,), {"stored": {}})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler.stored
    server.shutdown()
    thread.join()
    server.server_close()


def test_pickled_results_and_inputs_go_through_storage(start: Any, storage: tuple[str, dict[str, bytes]]) -> None:
    url, stored = storage
    stored["/input"] = pickle.dumps({"args": [1], "kwargs": {"y": {2, 3}}})

    def predict(x: Any, y: Any = ()) -> Any:
        return {"x": x, "y": y}

    headers = {"x-model-engine-upload-url": f"{url}/r1"}
    with start(predict).client() as client:
        answer = client.post("/predict", json={"args": {"x": 1}, "return_pickled": True}, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"result_url": "http://gateway/r1/content"})
        assert pickle.loads(stored["/r1"]) == {"x": 1, "y": ()}
        answer = client.post("/predict", json={"cloudpickle": f"{url}/input"}, headers=headers)
        assert answer.json() == {"result_url": "http://gateway/r1/content"}
        assert pickle.loads(stored["/r1"]) == {"x": 1, "y": {2, 3}}
        for body, sent in (({"args": {"x": 1}, "return_pickled": True}, {}), ({"cloudpickle": "s3://a/b"}, headers)):
            assert client.post("/predict", json=body, headers=sent).status_code == 400
        assert client.post("/stream", json={"args": {}, "return_pickled": True}, headers=headers).status_code == 400
        lost = {"x-model-engine-upload-url": "http://127.0.0.1:1/r"}
        answer = client.post("/predict", json={"args": {"x": 1}, "return_pickled": True}, headers=lost)
        assert (answer.status_code, "not stored" in answer.json()["detail"]) == (502, True)


def test_a_public_endpoint_takes_no_pickled_input(start: Any, storage: tuple[str, dict[str, bytes]]) -> None:
    headers = {"x-model-engine-upload-url": f"{storage[0]}/r1"}
    with start(lambda x: x, ME_REFUSE_PICKLED_INPUT="1").client() as client:
        answer = client.post("/predict", json={"cloudpickle": f"{storage[0]}/input"}, headers=headers)
    assert (answer.status_code, "takes no pickled input" in answer.json()["detail"]) == (400, True)
