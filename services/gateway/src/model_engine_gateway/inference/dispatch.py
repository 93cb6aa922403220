"""From a request to a worker's answer: choose, hold while there is no worker, send, try again only what is safe.

Safe to send again is what no worker took: refused connections, and the answers 429 and 503. Another worker is tried at
once; only when every usable one refused does the request wait, with jitter, before the next pass over them.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

from model_engine_chassis.upstream import Exchange, TooManyConnections, UpstreamError, UpstreamPool
from model_engine_gateway.errors import ApiError
from model_engine_gateway.inference import metrics
from model_engine_gateway.inference.demand import DemandMeter
from model_engine_gateway.inference.directory import EndpointDirectory
from model_engine_gateway.inference.hold import HoldClosed, HoldFull, HoldQueue
from model_engine_gateway.inference.routes import RouteTable, Worker
from model_engine_gateway.inference.wakes import Wakes

DEFAULT_RETRIES = 8
DEFAULT_ATTEMPT_SECONDS = 10.0
"""No new pass starts later than this after the first, where the caller gives no deadline."""

BUSY_TRIES = 3
"""Workers that may answer 429 or 503 within one pass."""

RECHECK_SECONDS = 1.0
"""A held request looks at its endpoint this often, even when nothing told of a change."""

_TOO_MANY, _UNAVAILABLE = 429, 503
_DISCARD_BYTES = 1 << 16


class NoAnswer(Exception):
    """Every worker refused, as often as allowed: `status` is 429 (all busy) or 503 (none healthy)."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class Call:
    """One request for the workers of an endpoint. `deadline` is monotonic; attempts count passes over the workers."""

    endpoint_id: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    deadline: float
    num_retries: int
    attempt_seconds: float


@dataclass(slots=True)
class _Pass:
    """What one pass over the workers has seen."""

    tried: set[str]
    busy: int = 0
    status: int = _UNAVAILABLE


class Dispatcher:
    """Sends calls to workers."""

    def __init__(
        self,
        routes: RouteTable,
        directory: EndpointDirectory,
        hold: HoldQueue,
        demand: DemandMeter,
        wakes: Wakes,
        pool: UpstreamPool,
    ) -> None:
        self._routes = routes
        self._directory = directory
        self._hold = hold
        self._demand = demand
        self._wakes = wakes
        self._pool = pool

    @asynccontextmanager
    async def open(self, call: Call) -> AsyncIterator[tuple[Exchange, str]]:
        """The first answer that is neither 429 nor 503, and the id of its worker. The caller's deadline bounds it all.

        Raises NoAnswer; ApiError when the request cannot be held, or its endpoint goes away meanwhile; UpstreamError
        when a worker failed after it may have taken the request.
        """
        passes = 0
        seen = _Pass(set())
        first_pass_at: float | None = None
        while True:
            worker = self._routes.choose(call.endpoint_id, monotonic(), seen.tried)
            if worker is None or seen.busy == BUSY_TRIES:
                if seen.tried:
                    passes += 1
                    await self._between_passes(call, seen, passes, first_pass_at or monotonic())
                    seen = _Pass(set())
                else:
                    await self._wait_for_worker(call)
                    first_pass_at = None
                continue
            first_pass_at = first_pass_at or monotonic()
            self._demand.change(call.endpoint_id, monotonic(), in_flight=1)
            worker.in_flight += 1
            try:
                async with self._pool.request(
                    worker.host, worker.port, b"POST", call.target, call.headers, call.body
                ) as exchange:
                    if exchange.status not in (_TOO_MANY, _UNAVAILABLE):
                        metrics.ATTEMPT_ANSWERED.inc()
                        yield exchange, worker.id
                        return
                    metrics.ATTEMPT_BUSY.inc()
                    seen.busy += 1
                    seen.status = exchange.status
                    seen.tried.add(worker.id)
                    await exchange.read(_DISCARD_BYTES)
            except UpstreamError as error:
                self._record_failure(error, worker, seen)
            finally:
                worker.in_flight -= 1
                self._demand.change(call.endpoint_id, monotonic(), in_flight=-1)

    def _record_failure(self, error: UpstreamError, worker: Worker, seen: _Pass) -> None:
        """Go on with another worker when this one has not taken the request, else raise."""
        if worker.id in seen.tried:  # it answered 429 or 503, only the text of that is lost
            return
        if error.sent:
            metrics.ATTEMPT_BROKEN.inc()
            raise error
        metrics.ATTEMPT_REFUSED.inc()
        seen.tried.add(worker.id)
        if isinstance(error, TooManyConnections):
            seen.busy += 1
            seen.status = _TOO_MANY
        else:
            self._routes.suspect(worker, monotonic())

    async def _between_passes(self, call: Call, seen: _Pass, passes: int, first_pass_at: float) -> None:
        """Wait before the next pass, or raise NoAnswer. When all refused to connect, holding is the wait."""
        if passes > call.num_retries or monotonic() - first_pass_at >= call.attempt_seconds:
            raise NoAnswer(seen.status)
        if not seen.busy:
            return
        delay = min(max(1.2 ** (passes - 1), 1.0), 5.0) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter
        if monotonic() + delay >= call.deadline:
            raise NoAnswer(seen.status)
        self._demand.change(call.endpoint_id, monotonic(), waiting=1)
        try:
            await asyncio.sleep(delay)
        finally:
            self._demand.change(call.endpoint_id, monotonic(), waiting=-1)

    async def _wait_for_worker(self, call: Call) -> None:
        """Hold the request until a worker is there; the autoscaler hears of it at once and until then."""
        endpoint_id = call.endpoint_id
        try:
            with self._hold.place(endpoint_id, len(call.body)) as place, metrics.HOLD_SECONDS.time():
                self._demand.change(endpoint_id, monotonic(), waiting=1)
                try:
                    await self._wakes.wake(endpoint_id)
                    while not self._routes.has_worker(endpoint_id, monotonic()):
                        await self._check_hope(endpoint_id)
                        await place.changed(RECHECK_SECONDS)
                finally:
                    self._demand.change(endpoint_id, monotonic(), waiting=-1)
        except HoldFull as error:
            raise ApiError(429, f"Too many requests: {error}.", "hold_queue_full", {"retry-after": "1"}) from error
        except HoldClosed as error:
            raise ApiError(
                503, "This gateway is shutting down. Please retry.", "shutting_down", {"retry-after": "1"}
            ) from error

    async def _check_hope(self, endpoint_id: str) -> None:
        endpoint = await self._directory.get(endpoint_id)
        if endpoint is None:
            raise ApiError(404, "The specified endpoint could not be found.", "endpoint_not_found")
        if endpoint.hopeless:
            raise NoAnswer(_UNAVAILABLE)
