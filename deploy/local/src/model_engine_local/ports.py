"""Ports of 127.0.0.1 for servers that must find their port free again after a restart."""

import secrets
import socket

LOWEST = 15_000
HIGHEST = 32_000
ATTEMPTS = 200

_given: set[int] = set()


def free_port() -> int:
    """A port that nothing listens on now, below the range from which the kernel takes ports of outgoing connections.

    A port inside that range may be lost while its server restarts: a client that keeps reconnecting can even be given
    the very port it dials, connect to itself and hold it. No port is given twice in one process. Raises OSError when
    none is found.
    """
    for _ in range(ATTEMPTS):
        port = LOWEST + secrets.randbelow(HIGHEST - LOWEST)
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise OSError(f"no free port of 127.0.0.1 between {LOWEST} and {HIGHEST} in {ATTEMPTS} attempts")


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now; connections that are still closing do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
