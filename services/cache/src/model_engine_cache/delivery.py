"""Brings observations to one place: only the latest of each endpoint waits, whatever the place's troubles."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn

from prometheus_client import Counter, Gauge

from model_engine_chassis.retry import backoff
from model_engine_contracts.events import EndpointObserved

log = logging.getLogger(__name__)

BATCH = 256

WAITING = Gauge("modelengine_cache_undelivered", "Endpoints whose latest observation is not delivered yet.", ["to"])
DELIVERED = Counter("modelengine_cache_delivered", "Observations delivered.", ["to"])
FAILED = Counter("modelengine_cache_delivery_failures", "Attempts to deliver that failed.", ["to"])


class Delivery:
    """What waits for one place is bounded by the number of endpoints: a newer observation takes an older one's place.

    `deliver` must be safe to repeat; `errors` are those after which it is tried again, with growing pauses.
    """

    def __init__(
        self,
        place: str,
        deliver: Callable[[Sequence[EndpointObserved]], Awaitable[None]],
        errors: tuple[type[Exception], ...],
    ) -> None:
        self._place, self._deliver, self._errors = place, deliver, errors
        self._waiting: dict[str, EndpointObserved] = {}
        self._wake = asyncio.Event()

    def put(self, observed: EndpointObserved) -> None:
        """Deliver this one soon, and none of the same endpoint that still waits."""
        self._waiting[observed.endpoint_id] = observed
        self._wake.set()

    async def run(self) -> NoReturn:
        """Deliver for ever."""
        attempt = 0
        while True:
            await self._wake.wait()
            batch = [self._waiting.pop(endpoint_id) for endpoint_id in list(self._waiting)[:BATCH]]
            if not self._waiting:
                self._wake.clear()
            if not batch:
                continue
            try:
                await self._deliver(batch)
            except self._errors as error:
                self._put_back(batch)
                FAILED.labels(self._place).inc()
                log.warning("delivery failed", extra={"to": self._place, "waiting": len(batch), "error": repr(error)})
                await asyncio.sleep(backoff(attempt, 0.1, 5.0))
                attempt += 1
            else:
                attempt = 0
                DELIVERED.labels(self._place).inc(len(batch))
            WAITING.labels(self._place).set(len(self._waiting))

    def _put_back(self, batch: Sequence[EndpointObserved]) -> None:
        for observed in batch:
            self._waiting.setdefault(observed.endpoint_id, observed)
        self._wake.set()
