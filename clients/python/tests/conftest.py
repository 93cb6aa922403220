"""A gateway of the tests' own: a real HTTP server that answers as a test scripts it and remembers what it was asked."""

import asyncio
import json
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from typer.testing import CliRunner

from model_engine import AsyncClient, Client, Connection, Retry, RetryPolicy
from model_engine.cli import app as command_line


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What to answer. `cut`: the connection breaks where the body should go on."""

    status: int = 200
    json: Any = None
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


CUT = Answer(cut=True)


class ScriptedGateway:
    """Answers each (method, path) with its scripted answers in turn; the last one stays."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._scripts: dict[tuple[str, str], list[Answer]] = defaultdict(list)
        self.url = ""

    def script(self, method: str, path: str, *answers: Any) -> None:
        """Add answers: an Answer, or anything else as the JSON of a 200."""
        self._scripts[method, path] += [a if isinstance(a, Answer) else Answer(json=a) for a in answers]

    def requests(self, method: str, path: str) -> list[Asked]:
        return [asked for asked in self.asked if (asked.method, asked.path) == (method, path)]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        asked = Asked(scope["method"], scope["path"], scope["query_string"].decode(), headers, body)
        self.asked.append(asked)
        answers = self._scripts[asked.method, asked.path] or [Answer(404, {"detail": "Not Found"})]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        content = answer.body if answer.json is None else json.dumps(answer.json).encode()
        if answer.cut:
            answer.headers["content-length"] = str(len(content) + 1)
        head = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": head})
        await send({"type": "http.response.body", "body": content, "more_body": answer.cut})


@pytest.fixture(scope="session")
def http_server() -> Iterator[dict[str, Any]]:
    """One server for all tests of a process: `url`, and `app`, which each test sets to its own."""
    serving: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await serving["app"](scope, receive, send)

    config = uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    serving["url"] = f"http://127.0.0.1:{socket.getsockname()[1]}"
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[socket])))
    thread.start()
    yield serving
    server.should_exit = True
    thread.join()
    socket.close()


@pytest.fixture
def gateway(http_server: dict[str, Any]) -> ScriptedGateway:
    app = ScriptedGateway()
    app.url = http_server["url"]
    http_server["app"] = app
    return app


@dataclass
class EitherClient:
    """The blocking or the async client behind one way to call it; `retries` are those that it reported."""

    connection: Connection
    blocking: bool
    retries: list[Retry] = field(default_factory=list)
    policy: RetryPolicy = field(default_factory=lambda: RetryPolicy(attempts=4, base_seconds=0.001))

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        options = {"policy": self.policy, "on_retry": self.retries.append}
        if self.blocking:
            with Client(self.connection, **options) as client:
                return getattr(client, method)(*args, **kwargs)

        async def call() -> Any:
            async with AsyncClient(self.connection, **options) as client:
                return await getattr(client, method)(*args, **kwargs)

        return asyncio.run(call())

    def take(self, count: int, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        """The first `count` values of a method that yields; the stream is then closed."""
        options = {"policy": self.policy, "on_retry": self.retries.append}
        if self.blocking:
            with Client(self.connection, **options) as client:
                return [value for _, value in zip(range(count), getattr(client, method)(*args, **kwargs), strict=False)]

        async def take() -> list[Any]:
            values: list[Any] = []
            async with AsyncClient(self.connection, **options) as client:
                async for value in getattr(client, method)(*args, **kwargs):
                    values.append(value)
                    if len(values) == count:
                        break
            return values

        return asyncio.run(take())


@pytest.fixture(params=["blocking", "async"])
def client(request: pytest.FixtureRequest, gateway: ScriptedGateway) -> EitherClient:
    return EitherClient(Connection(gateway.url, "the-key"), request.param == "blocking")


@pytest.fixture(name="cut")
def cut_fixture() -> Answer:
    return CUT


@pytest.fixture(name="answer")
def answer_fixture() -> Callable[..., Answer]:
    return Answer


@pytest.fixture
def run(gateway: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Run a command line against the scripted gateway."""
    monkeypatch.setenv("ME_URL", gateway.url)
    monkeypatch.setenv("ME_API_KEY", "the-key")
    monkeypatch.setenv("ME_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"})
    yield lambda *words, **more: runner.invoke(command_line.build(), list(words), **more)
    sys.modules.pop("cli_test_source", None)
