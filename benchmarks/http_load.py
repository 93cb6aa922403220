"""What the HTTP benchmarks share: an echo model server, a closed-loop load generator, CPU time of a process."""

import asyncio
import socket
import statistics
import time

import psutil

EVENT = b'data: {"token": "hello", "index": 17, "finished": false}\n\n'
EVENTS_PER_STREAM = 2000


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
    """Serve the echo until killed."""
    server = await asyncio.get_running_loop().create_server(EchoProtocol, "127.0.0.1", port)
    await server.serve_forever()


def post(target: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """The bytes of one request."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = f"POST {target} HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\n{lines}"
    return head.encode() + b"content-length: %d\r\n\r\n%b" % (len(body), body)


async def load(port: int, request: bytes, connections: int, seconds: float) -> list[float]:
    """Closed loop; returns the latency of every call in seconds. Raises RuntimeError at an answer other than 200."""
    latencies: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        end = time.perf_counter() + seconds
        while (started := time.perf_counter()) < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.split(b"\r\n")[0].decode())
            await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
            latencies.append(time.perf_counter() - started)
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return latencies


async def load_streams(port: int, request: bytes, streams: int) -> int:
    """Opens so many streams at once; returns the number of events seen."""

    async def client() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        seen = 0
        while chunk := await reader.read(1 << 18):
            seen += chunk.count(b"data: ")
            if chunk.endswith(b"0\r\n\r\n"):
                break
        writer.close()
        return seen

    return sum(await asyncio.gather(*(client() for _ in range(streams))))


class Result:
    """The best of several rounds; other work on the machine only ever makes a round worse. Times in seconds."""

    def __init__(self) -> None:
        self.per_second = 0.0
        self.per_cpu_second = 0.0
        self.p50 = float("inf")
        self.events_per_second = 0.0
        self.events_per_cpu_second = 0.0

    def add_round(
        self, port: int, process: psutil.Process, call: bytes, stream: bytes, *, seconds: float = 2.0, streams: int = 16
    ) -> None:
        """Sixteen connections, then one, then streams. The CPU time is that of the process under test alone."""
        before, started = cpu_seconds(process), time.perf_counter()
        calls = len(asyncio.run(load(port, call, 16, seconds)))
        self.per_second = max(self.per_second, calls / (time.perf_counter() - started))
        self.per_cpu_second = max(self.per_cpu_second, calls / max(cpu_seconds(process) - before, 0.01))
        self.p50 = min(self.p50, statistics.median(asyncio.run(load(port, call, 1, seconds / 2))))
        before, started = cpu_seconds(process), time.perf_counter()
        events = asyncio.run(load_streams(port, stream, streams))
        if events != streams * EVENTS_PER_STREAM:
            raise RuntimeError(f"{events} events came instead of {streams * EVENTS_PER_STREAM}")
        self.events_per_second = max(self.events_per_second, events / (time.perf_counter() - started))
        self.events_per_cpu_second = max(self.events_per_cpu_second, events / max(cpu_seconds(process) - before, 0.01))


def report(title: str, direct: Result, ours: Result, peer: Result) -> None:
    """Print the figures side by side and the ratios of ours to the peer's."""
    rows = [
        ("calls/s at 16 connections", direct.per_second, ours.per_second, peer.per_second),
        ("calls per CPU second", direct.per_cpu_second, ours.per_cpu_second, peer.per_cpu_second),
        ("p50 added at 1 connection (us)", 0, (ours.p50 - direct.p50) * 1e6, (peer.p50 - direct.p50) * 1e6),
        ("events/s in 16 streams", direct.events_per_second, ours.events_per_second, peer.events_per_second),
        (
            "events per CPU second",
            direct.events_per_cpu_second,
            ours.events_per_cpu_second,
            peer.events_per_cpu_second,
        ),
    ]
    print(f"{'':36}{'direct':>12}{title:>12}{'peer':>12}{'ratio':>9}")
    for name, bare, own, other in rows:
        print(f"{name:36}{bare:12,.0f}{own:12,.0f}{other:12,.0f}{own / other:8.2f}x")


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time of a process so far; the kernel counts it in steps of 10 ms."""
    times = process.cpu_times()
    return times.user + times.system


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_ready(port: int, path: str = "/readyz") -> None:
    """Wait until a GET answers 200. Raises RuntimeError after 30 seconds."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as sock:
                sock.sendall(f"GET {path} HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n".encode())
                if b" 200 " in sock.recv(1024):
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"nothing is ready on port {port}")
