"""Whether this worker can serve: its model server answers its health route, and no stop signal has come."""

import asyncio
import contextlib
from dataclasses import dataclass

from model_engine_chassis.upstream import UpstreamError, UpstreamPool, UpstreamTimeout

PROBE_SECONDS = 1.0
STARTING_PROBE_SECONDS = 0.1
PROBE_TIMEOUT_SECONDS = 5.0
TIMEOUTS_TO_FAIL = 3


@dataclass(frozen=True, slots=True)
class HealthRoute:
    """A route of a model server whose 200 means ready."""

    host: str
    port: int
    path: str


class Readiness:
    """Follows the health routes of the model servers.

    A refused connection or another status counts at once; a route that does not answer counts after three timeouts, so
    that a model which blocks its own server while it computes stays ready.
    """

    def __init__(self, pool: UpstreamPool, routes: frozenset[HealthRoute]) -> None:
        self._pool = pool
        self._problems: dict[HealthRoute, str | None] = {
            route: f"waiting for 200 from GET {route.path} on port {route.port}" for route in sorted(routes, key=str)
        }
        self._suspicion = asyncio.Event()
        self._change = asyncio.Event()
        self.started = False
        self.draining = False

    @property
    def problem(self) -> str | None:
        """Why this worker is not ready; None when it is."""
        return "the forwarder is shutting down" if self.draining else self.model_problem

    @property
    def model_problem(self) -> str | None:
        """What is wrong with the model server; None when it is ready."""
        return next((problem for problem in self._problems.values() if problem is not None), None)

    async def changed(self) -> None:
        """Return when the model server's state has changed."""
        await self._change.wait()

    def suspect(self) -> None:
        """Probe now: a call of the model server has failed to connect."""
        self._suspicion.set()
        self._suspicion = asyncio.Event()

    async def follow(self) -> None:
        """Probe for ever."""
        async with asyncio.TaskGroup() as group:
            for route in self._problems:
                group.create_task(self._follow(route))

    async def _follow(self, route: HealthRoute) -> None:
        timeouts = 0
        while True:
            try:
                problem = await self._probe(route)
                timeouts = 0
            except (TimeoutError, UpstreamTimeout):
                timeouts += 1
                silent = f"GET {route.path} on port {route.port} does not answer within {PROBE_TIMEOUT_SECONDS:g} s"
                problem = silent if timeouts >= TIMEOUTS_TO_FAIL else self._problems[route]
            self._note(route, problem)
            await self._pause(STARTING_PROBE_SECONDS if problem else PROBE_SECONDS)

    def _note(self, route: HealthRoute, problem: str | None) -> None:
        if problem != self._problems[route]:
            self._problems[route] = problem
            self._change.set()
            self._change = asyncio.Event()
        self.started = self.started or self.model_problem is None

    async def _probe(self, route: HealthRoute) -> str | None:
        what = f"GET {route.path} on port {route.port}"
        try:
            async with (
                asyncio.timeout(PROBE_TIMEOUT_SECONDS),
                self._pool.request(route.host, route.port, b"GET", route.path.encode()) as answer,
            ):
                await answer.read(1 << 20)
                return None if answer.status == 200 else f"{what} answered {answer.status} instead of 200"
        except UpstreamTimeout:
            raise
        except UpstreamError as error:
            return f"{what} failed: {error}"

    async def _pause(self, seconds: float) -> None:
        suspicion = self._suspicion
        await asyncio.sleep(STARTING_PROBE_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds - STARTING_PROBE_SECONDS):
                await suspicion.wait()
