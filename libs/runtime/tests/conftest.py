"""What several tests of the runtime share."""

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest


@dataclass
class Source:
    """A web server for one artifact; `statuses` are answered first, one per request."""

    content: bytes = b""
    statuses: list[int] = field(default_factory=list)
    truncate: bool = False
    requests: int = 0


@pytest.fixture
def source() -> Iterator[tuple[str, Source]]:
    """The address and the behaviour of a web server."""
    state = Source()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests += 1
            if state.statuses:
                self.send_error(state.statuses.pop(0))
                return
            self.send_response(200)
            self.send_header("content-length", str(len(state.content)))
            self.end_headers()
            self.wfile.write(state.content[: len(state.content) // 2] if state.truncate else state.content)
            state.truncate = False

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/artifact", state
    server.shutdown()
    server.server_close()


@pytest.fixture
def serve_bytes(source: tuple[str, Source]) -> Callable[[bytes], tuple[str, str]]:
    """Serve some bytes; gives their address and hash."""

    def serve(content: bytes) -> tuple[str, str]:
        url, state = source
        state.content = content
        return url, hashlib.sha256(content).hexdigest()

    return serve
