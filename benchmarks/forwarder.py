"""The forwarder beside a naive peer that does the same with FastAPI and httpx, in one run on one machine.

Both stand between the same load generator and the same echo model server. Requests per CPU second count the CPU time of
the proxy alone, so they hold on a busy machine too. Rounds of ours and the peer's alternate.
"""

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

BODY = json.dumps({"args": {"text": "x" * 200, "numbers": list(range(40)), "options": {"a": 1, "b": None}}}).encode()
EVENT = b'data: {"token": "hello", "index": 17, "finished": false}\n\n'
EVENTS_PER_STREAM = 2000
STREAMS = 16
ROUNDS = 3
ROUND_SECONDS = 2.0


# --- the processes under test -----------------------------------------------------------------------------------------


class EchoProtocol(asyncio.Protocol):
    """A model server as fast as asyncio allows: echoes bodies, streams events on /stream, is always ready."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n")[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"post /stream"):
            chunk = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
            self.transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            for _ in range(EVENTS_PER_STREAM // 20):
                self.transport.write(chunk * 20)
            self.transport.write(b"0\r\n\r\n")
        else:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            self.transport.write(head + body)


async def serve_upstream(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(EchoProtocol, "127.0.0.1", port)
    await server.serve_forever()


def serve_peer(port: int, upstream: int) -> None:
    """What one writes first: a FastAPI route, a pooled httpx client, JSON decoded and encoded."""
    import httpx
    import uvicorn
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse, StreamingResponse
    from pydantic import BaseModel

    class Request(BaseModel):
        args: dict | list | str | None = None
        url: str | None = None

    app = FastAPI()
    client = httpx.AsyncClient(limits=httpx.Limits(max_connections=200), timeout=60)
    base = f"http://127.0.0.1:{upstream}"

    @app.get("/readyz")
    async def ready() -> str:
        return "OK"

    @app.post("/predict")
    async def predict(request: Request) -> JSONResponse:
        answer = await client.post(f"{base}/predict", json=request.args)
        return JSONResponse({"result": json.dumps(answer.json())}, status_code=answer.status_code)

    @app.post("/stream")
    async def stream(request: Request) -> StreamingResponse:
        async def events():
            async with client.stream("POST", f"{base}/stream", json=request.args) as answer:
                async for line in answer.aiter_lines():
                    if line.startswith("data: "):
                        yield f"data: {json.dumps({'result': json.loads(line[6:])})}\r\n\r\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", loop="uvloop", http="httptools")


# --- the load generator -----------------------------------------------------------------------------------------------


async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.split(b"\r\n")[0].decode())
    await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))


async def load(port: int, connections: int, seconds: float) -> list[float]:
    """Closed loop; returns the latency of every call in seconds."""
    request = b"POST /predict HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
    request %= (len(BODY), BODY)
    latencies: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        end = time.perf_counter() + seconds
        while (started := time.perf_counter()) < end:
            await call(reader, writer, request)
            latencies.append(time.perf_counter() - started)
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return latencies


async def load_streams(port: int) -> int:
    """Opens `STREAMS` streams at once; returns the number of events seen."""
    body = b'{"args":{"stream":true}}'
    request = b"POST /stream HTTP/1.1\r\nhost: b\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )
    if port == 0:
        raise ValueError(port)

    async def client() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request.replace(b"connection: close\r\n", b"content-type: application/json\r\n"))
        seen = 0
        while chunk := await reader.read(1 << 18):
            seen += chunk.count(b"data: ")
            if chunk.endswith(b"0\r\n\r\n"):
                break
        writer.close()
        return seen

    return sum(await asyncio.gather(*(client() for _ in range(STREAMS))))


@dataclass
class Result:
    """The best of several rounds; other work on the machine only ever makes a round worse."""

    per_second: float = 0.0
    per_cpu_second: float = 0.0
    p50: float = float("inf")
    events_per_cpu_second: float = 0.0
    events_per_second: float = 0.0


def measure(port: int, process: psutil.Process, result: Result) -> None:
    """One round: 16 connections, one connection, streams."""
    before, started = cpu_seconds(process), time.perf_counter()
    calls = len(asyncio.run(load(port, 16, ROUND_SECONDS)))
    result.per_second = max(result.per_second, calls / (time.perf_counter() - started))
    result.per_cpu_second = max(result.per_cpu_second, calls / (cpu_seconds(process) - before))
    result.p50 = min(result.p50, statistics.median(asyncio.run(load(port, 1, ROUND_SECONDS / 2))))
    before, started = cpu_seconds(process), time.perf_counter()
    events = asyncio.run(load_streams(port))
    if events != STREAMS * EVENTS_PER_STREAM:
        raise RuntimeError(f"{events} events came instead of {STREAMS * EVENTS_PER_STREAM}")
    result.events_per_second = max(result.events_per_second, events / (time.perf_counter() - started))
    result.events_per_cpu_second = max(result.events_per_cpu_second, events / (cpu_seconds(process) - before))


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_ready(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as sock:
                sock.sendall(b"GET /readyz HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n")
                if b" 200 " in sock.recv(1024):
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"nothing is ready on port {port}")


def report(direct: Result, ours: Result, peer: Result, memory: int) -> None:
    rows: list[tuple[str, Callable[[Result], float]]] = [
        ("/predict, requests/s at 16 connections", lambda r: r.per_second),
        ("/predict, requests per CPU second", lambda r: r.per_cpu_second),
        ("/predict, p50 added at 1 connection (us)", lambda r: (r.p50 - direct.p50) * 1e6),
        (f"/stream, events/s in {STREAMS} streams", lambda r: r.events_per_second),
        ("/stream, events per CPU second", lambda r: r.events_per_cpu_second),
    ]
    print(f"{'':44}{'direct':>12}{'forwarder':>12}{'peer':>12}{'ratio':>9}")
    for title, value in rows:
        own, other = value(ours), value(peer)
        print(f"{title:44}{value(direct):12,.0f}{own:12,.0f}{other:12,.0f}{own / other:8.2f}x")
    print(f"resident memory of the forwarder: {memory / (1 << 20):.0f} MiB")


def main() -> None:
    """Run everything and print the ratios; takes about 35 seconds."""
    upstream, own, peer = free_port(), free_port(), free_port()
    me = [sys.executable, __file__]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "forwarder.yaml")
        block = f"{{user_port: {upstream}, user_hostname: 127.0.0.1, forward_http_status: true}}"
        streams = f"{{user_port: {upstream}, user_hostname: 127.0.0.1, predict_route: /stream}}"
        config.write_text(f"forwarder:\n  sync: {block}\n  stream: {streams}\n")
        forward = [sys.executable, "-m", "model_engine_forwarder", "--config", str(config), "--num-workers", "1"]
        commands = {
            upstream: [*me, "upstream", str(upstream)],
            own: [*forward, "--host", "127.0.0.1", "--port", str(own)],
            peer: [*me, "peer", str(peer), str(upstream)],
        }
        running = {port: subprocess.Popen(command) for port, command in commands.items()}
        try:
            results = {port: Result() for port in running}
            for port in running:
                wait_ready(port)
            for _ in range(ROUNDS):
                for port, process in running.items():
                    measure(port, psutil.Process(process.pid), results[port])
            memory = psutil.Process(running[own].pid).memory_info().rss
            report(results[upstream], results[own], results[peer], memory)
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.wait(10)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] == "upstream":
        import uvloop

        uvloop.run(serve_upstream(int(sys.argv[2])))
    else:
        serve_peer(int(sys.argv[2]), int(sys.argv[3]))
