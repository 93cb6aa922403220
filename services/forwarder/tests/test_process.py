"""The process as people start it: flags, ports, the standalone command word for word, signals."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from model_engine_chassis.upstream import ConnectFailed, UpstreamError, UpstreamPool
from model_engine_forwarder.cli import main
from model_engine_local.testing import eventually

SERVICE = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "model_engine_forwarder"]


@dataclass
class Process:
    process: asyncio.subprocess.Process
    port: int
    pool: UpstreamPool

    async def call(self, method: bytes, target: bytes, body: bytes = b"") -> tuple[int, bytes, list]:
        async with self.pool.request("127.0.0.1", self.port, method, target, (), body) as answer:
            return answer.status, await answer.read(1 << 20), answer.headers

    async def ready(self) -> bool:
        return (await self.call(b"GET", b"/readyz"))[0] == 200


@asynccontextmanager
async def forwarder(*arguments: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "--num-workers", "2", "--port", "0", *arguments, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    pool = UpstreamPool(keep_alive=0.001)
    try:
        line = await asyncio.wait_for(process.stderr.readline(), 20)
        yield Process(process, json.loads(line)["port"], pool)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        pool.close()


def config_of(tmp_path: Path, port: int, **top: object) -> str:
    place = {"user_port": port, "user_hostname": "127.0.0.1"}
    values = {"sync": place, "stream": {**place, "predict_route": "/stream"}, "drain_delay_seconds": 0.0, **top}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"forwarder": values}))
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--num-workers", "1"], 2, "--config"),
        (["--config", "x.yaml"], 2, "--num-workers"),
        (["--config", "x.yaml", "--num-workers", "1", "--unknown", "1"], 2, "unrecognized arguments: --unknown 1"),
        (["--config", "x.yaml", "--num-workers", "0"], 2, "--num-workers"),
        (["--config", "x.yaml", "--num-workers", "1"], 78, "x.yaml cannot be read"),
        (
            ["--config", "configs/service--http_forwarder.yaml", "--num-workers", "1", "--set", "a"],
            78,
            "key.path=value",
        ),
        (
            ["--config", "configs/service--http_forwarder.yaml", "--num-workers", "1", "--host", "192.0.2.1"],
            78,
            "cannot listen on 192.0.2.1:5000",
        ),
    ],
)
def test_wrong_flags(arguments: list[str], code: int, said: str, monkeypatch, capsys) -> None:
    monkeypatch.chdir(SERVICE)
    monkeypatch.setattr(sys, "argv", ["model_engine_forwarder", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == code
    assert said in capsys.readouterr().err


def test_a_queue_needs_to_know_where_nats_is(tmp_path: Path) -> None:
    queue = {"stream": "TASKS", "durable": "d", "concurrency": 1}
    worker = {"endpoint_id": "e", "worker_id": "w", "owner": "o", "queue": queue}
    path = tmp_path / "worker.json"
    path.write_text(json.dumps({"async": {}, "worker": worker}))
    command = [*COMMAND, "--config", str(path), "--num-workers", "1", "--port", "0"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ME_")}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 78
    assert "ME_NATS_URL is missing" in done.stderr


async def test_listens_on_both_families_and_stays_small(tmp_path: Path, model) -> None:
    async with forwarder("--config", config_of(tmp_path, model.port)) as process:
        for host in ("127.0.0.1", "::1"):
            async with process.pool.request(host, process.port, b"GET", b"/healthz") as answer:
                assert answer.status == 200
        for _ in range(100):
            await process.call(b"POST", b"/predict", b'{"args":{}}')
        resident = psutil.Process(process.process.pid).memory_info().rss
        assert resident <= 60 << 20


def test_imports_nothing_of_the_platform(tmp_path: Path) -> None:
    code = "import sys, model_engine_forwarder.cli; print([m for m in sys.modules if m.split('.')[0] in"
    code += " ('nats', 'faststream', 'motor', 'pymongo', 'redis', 'fastapi', 'model_engine_contracts')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_drains_calls_and_streams(tmp_path: Path, model, number) -> None:
    go_on = asyncio.Event()

    async def reply(connection, request) -> None:
        if request.target == "/stream":
            await connection.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\ndata: 1\n\n")
            await go_on.wait()
            await connection.send(b"data: 2\n\n")
            connection.writer.close()
        else:
            await go_on.wait()
            await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1")

    model.reply = reply
    async with forwarder("--config", config_of(tmp_path, model.port)) as process:
        while not await process.ready():
            await asyncio.sleep(0)
        calls = [
            asyncio.create_task(process.call(b"POST", target, b'{"args":{}}')) for target in (b"/predict", b"/stream")
        ]
        await eventually(lambda: len(model.requests) == 2)
        process.process.send_signal(number)

        async def port_is_closed() -> bool:
            try:
                await process.call(b"GET", b"/healthz")
            except UpstreamError as error:  # reset while still in the backlog, then refused
                return isinstance(error, ConnectFailed)
            return False

        while not await port_is_closed():
            await asyncio.sleep(0)
        go_on.set()
        predicted, streamed = await asyncio.gather(*calls)
        assert predicted[:2] == (200, b'{"result":"1"}')
        assert streamed[:2] == (200, b'data: {"result":1}\r\n\r\ndata: {"result":2}\r\n\r\n')
        assert await asyncio.wait_for(process.process.wait(), 10) == 0


async def test_readiness_falls_while_the_port_is_still_open(tmp_path: Path, model) -> None:
    async with forwarder("--config", config_of(tmp_path, model.port, drain_delay_seconds=60)) as process:
        while not await process.ready():
            await asyncio.sleep(0)
        _, writer = await asyncio.open_connection("127.0.0.1", process.port)
        process.process.terminate()
        while await process.ready():
            await asyncio.sleep(0)
        status, body, headers = await process.call(b"POST", b"/predict", b'{"args":{}}')
        assert (status, body) == (200, b'{"result":"{}"}')
        assert (b"connection", b"close") in headers
        writer.close()  # the last open connection: nobody is left to wait for
        assert await asyncio.wait_for(process.process.wait(), 10) == 0


async def test_second_signal_ends_at_once(tmp_path: Path, model) -> None:
    async def hang(connection, request) -> None:
        await connection.gone()

    model.reply = hang
    async with forwarder("--config", config_of(tmp_path, model.port)) as process:
        while not await process.ready():
            await asyncio.sleep(0)
        call = asyncio.create_task(process.call(b"POST", b"/predict", b'{"args":{}}'))
        await eventually(lambda: model.requests)
        process.process.terminate()
        assert b"draining" in await asyncio.wait_for(process.process.stderr.readline(), 10)
        process.process.terminate()
        assert await asyncio.wait_for(process.process.wait(), 10) == 1
        await asyncio.gather(call, return_exceptions=True)


STANDALONE = """
set -eu
python -c "
import fcntl, socket, struct
with socket.socket() as sock:
    fcntl.ioctl(sock, 0x8914, struct.pack('16sH14s', b'lo', 0x41, b''))  # SIOCSIFFLAGS: up and running
"
python tests/standalone_model_server.py & model=$!
python -m model_engine_forwarder --config configs/service--http_forwarder.yaml --num-workers 1 @SET@ & forwarder=$!
trap 'kill $model $forwarder' EXIT
for attempt in $(seq 200); do curl -sf -o /dev/null localhost:5000/readyz && break; sleep 0.05; done
curl -s -X POST localhost:5000@ROUTE@ -H "Content-Type: application/json" -d '{"args": {"model": "m", "messages": []}}'
echo
curl -s -X POST localhost:5000@STREAM@ -H "Content-Type: application/json" \
    -d '{"args": {"model": "m", "messages": [], "stream": true}}'
"""

SET = (
    """--set "forwarder.sync.extra_routes=['/v1/chat/completions','/v1/completions']" """
    """--set "forwarder.stream.extra_routes=['/v1/chat/completions','/v1/completions']" """
    """--set "forwarder.sync.healthcheck_route=/health" --set "forwarder.stream.healthcheck_route=/health" """
)
CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("overrides", "route", "stream"), [(SET, CHAT, CHAT), ("", "/predict", "/stream")], ids=["with --set", "without"]
)
def test_standalone_command(overrides: str, route: str, stream: str) -> None:
    """The fixed ports 5000 and 5005 are used in a network namespace of the test's own."""
    script = STANDALONE.replace("@SET@", overrides).replace("@ROUTE@", route).replace("@STREAM@", stream)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "bash", "-c", script],
        cwd=SERVICE,
        env={**os.environ, "PATH": path},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    answer, _, events = done.stdout.partition(b"\n")
    assert json.loads(json.loads(answer)["result"]) == {"path": route if overrides else "/predict", "keys": 2}
    assert events == b'data: {"result":{"token":"hello"}}\r\n\r\ndata: {"result":"[DONE]"}\r\n\r\n'
