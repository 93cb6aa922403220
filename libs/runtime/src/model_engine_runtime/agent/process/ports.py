"""Free TCP ports for workers, never the same one for two of them."""

import socket

ATTEMPTS = 100


class NoFreePort(OSError):
    """The system gave no port that is not taken already."""


class Ports:
    """Ports handed out by this agent. One that is handed out is not chosen again until it is given back."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._taken: set[int] = set()

    def take(self) -> int:
        """A free port. Raises NoFreePort."""
        for _ in range(ATTEMPTS):
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.bind((self._host, 0))
                port: int = probe.getsockname()[1]
            if port not in self._taken:
                self._taken.add(port)
                return port
        raise NoFreePort(f"no free port on {self._host}")

    def hold(self, port: int) -> None:
        """Take a port that a worker uses already."""
        self._taken.add(port)

    def give_back(self, port: int) -> None:
        """The worker is gone."""
        self._taken.discard(port)
