"""Which workers answer for an endpoint: the route table of one gateway process."""

import logging
import random
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from model_engine_contracts.events import EndpointObserved, ObservedWorker

log = logging.getLogger(__name__)

READY = "READY"
SUSPECT_SECONDS = 5.0
"""A worker that refused a connection is left out this long, unless a newer observation of the set comes first."""


@dataclass(slots=True, eq=False)
class Worker:
    """A worker that takes requests, and how many of this process are at it."""

    id: str
    host: str
    port: int
    in_flight: int = 0
    suspect_until: float = 0.0


@dataclass(slots=True)
class _Route:
    order: tuple[int, int] = (-1, -1)
    workers: dict[str, Worker] = field(default_factory=dict)


class RouteTable:
    """Whole sets of workers per endpoint; the highest (epoch, counter) wins. Times in seconds, monotonic."""

    def __init__(self, on_change: Callable[[str], None]) -> None:
        self._routes: dict[str, _Route] = {}
        self._on_change = on_change

    def observe(self, observed: EndpointObserved) -> None:
        """Take over an observation, unless a newer one is known. A worker that stays keeps its requests in flight."""
        route = self._routes.setdefault(observed.endpoint_id, _Route())
        if (observed.epoch, observed.counter) <= route.order:
            return
        route.order = (observed.epoch, observed.counter)
        known, route.workers = route.workers, {}
        for worker in observed.workers:
            if worker.state != READY or (address := _address(worker)) is None:
                continue
            old = known.get(worker.id)
            if old is not None and (old.host, old.port) == address:
                old.suspect_until = 0.0
                route.workers[worker.id] = old
            else:
                route.workers[worker.id] = Worker(worker.id, *address)
        self._on_change(observed.endpoint_id)

    def forget(self, endpoint_id: str) -> None:
        """Drop an endpoint that is gone for good."""
        if self._routes.pop(endpoint_id, None) is not None:
            self._on_change(endpoint_id)

    def choose(self, endpoint_id: str, now: float, avoid: Collection[str] = ()) -> Worker | None:
        """The less loaded of two random usable workers, or None. `avoid` holds ids that were tried already."""
        route = self._routes.get(endpoint_id)
        if route is None:
            return None
        usable = [worker for worker in route.workers.values() if worker.suspect_until <= now and worker.id not in avoid]
        if not usable:
            return None
        if len(usable) == 1:
            return usable[0]
        first, second = random.sample(usable, 2)
        return first if first.in_flight <= second.in_flight else second

    def suspect(self, worker: Worker, now: float) -> None:
        """Leave out a worker that refused a connection."""
        worker.suspect_until = now + SUSPECT_SECONDS

    def has_worker(self, endpoint_id: str, now: float) -> bool:
        """Whether a request for this endpoint could be sent now."""
        return self.choose(endpoint_id, now) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._routes)


def _address(worker: ObservedWorker) -> tuple[str, int] | None:
    host, colon, port = (worker.address or "").rpartition(":")
    if not colon or not host or not port.isdigit():
        log.warning("a ready worker has no usable address", extra={"worker_id": worker.id, "address": worker.address})
        return None
    return host.removeprefix("[").removesuffix("]"), int(port)
