"""Calls of the model server that sits beside this forwarder."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from model_engine_chassis.upstream import Exchange, UpstreamPool
from model_engine_forwarder.messages import Header

MAX_REDIRECTS = 5

_REPEATING_REDIRECTS = (307, 308)

ResultT = TypeVar("ResultT")


class ModelServer:
    """One host and port."""

    def __init__(self, pool: UpstreamPool, host: str, port: int) -> None:
        self.pool = pool
        self.host = host
        self.port = port
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._origins = (f"http://{authority}".encode(), f"//{authority}".encode())

    async def post(
        self,
        target: bytes,
        body: bytes,
        headers: Sequence[Header],
        consume: Callable[[Exchange], Awaitable[ResultT]],
    ) -> ResultT:
        """POST JSON and hand the answer to `consume`. Redirects 307 and 308 within the server are followed.

        Raises UpstreamError, and whatever `consume` raises.
        """
        headers = [(b"content-type", b"application/json"), *headers]
        for _ in range(MAX_REDIRECTS):
            async with self.pool.request(self.host, self.port, b"POST", target, headers, body) as answer:
                if answer.status not in _REPEATING_REDIRECTS or (place := self._location(answer)) is None:
                    return await consume(answer)
                target = place
        async with self.pool.request(self.host, self.port, b"POST", target, headers, body) as answer:
            return await consume(answer)

    def _location(self, answer: Exchange) -> bytes | None:
        """Where a redirect points within this server; None when it points elsewhere and is handed on."""
        location = next((value for name, value in answer.headers if name == b"location"), b"")
        for origin in self._origins:
            location = location.removeprefix(origin)
        location = location.split(b"#")[0]
        return location if location.startswith(b"/") and not location.startswith(b"//") else None
