"""Telling the autoscaler of demand over core NATS: wake-ups while something waits, a report each second."""

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

from model_engine_contracts.demand import REPORT_INTERVAL_SECONDS, WAKE_INTERVAL_SECONDS, DemandReport, WakeUp
from model_engine_contracts.subjects import DEMAND_SUBJECT, wake_subject
from model_engine_gateway.inference import metrics
from model_engine_gateway.inference.demand import DemandMeter

log = logging.getLogger(__name__)

TASK_WAKE_SECONDS = 10.0
"""How long a fresh async task of an endpoint without workers is announced; then the autoscaler sees the backlog."""


class Wakes:
    """Wake-ups and reports of one gateway. `has_worker` tells whether an endpoint needs one no more."""

    def __init__(self, nats: Any, gateway: str, demand: DemandMeter, has_worker: Callable[[str, float], bool]) -> None:
        self._nats = nats
        self._gateway = gateway
        self._demand = demand
        self._has_worker = has_worker
        self._held: dict[str, None] = {}
        self._tasks: dict[str, float] = {}

    async def wake(self, endpoint_id: str) -> None:
        """A request is held for this endpoint: say so now, and again until none is."""
        self._held[endpoint_id] = None
        await self._publish_wake(endpoint_id)

    async def wake_for_task(self, endpoint_id: str) -> None:
        """An async task was queued: if no worker is there, say so now and again for a while."""
        now = monotonic()
        if self._has_worker(endpoint_id, now):
            return
        fresh = endpoint_id not in self._tasks
        self._tasks[endpoint_id] = now + TASK_WAKE_SECONDS
        if fresh:
            await self._publish_wake(endpoint_id)

    async def run(self) -> None:
        """Repeat wake-ups and send reports until cancelled."""
        reported_at = monotonic()
        while True:
            await asyncio.sleep(WAKE_INTERVAL_SECONDS)
            now = monotonic()
            await self._repeat_wakes(now)
            if now - reported_at >= REPORT_INTERVAL_SECONDS - WAKE_INTERVAL_SECONDS / 2:
                reported_at = now
                await self.report()

    async def report(self) -> None:
        """Send one report of the demand since the last one, and set the gauges."""
        in_flight, waiting = self._demand.totals()
        metrics.IN_FLIGHT.set(in_flight)
        metrics.HELD.set(waiting)
        endpoints = self._demand.report(monotonic())
        if endpoints:
            report = DemandReport(gateway=self._gateway, endpoints=endpoints)
            await self._publish(DEMAND_SUBJECT, report.model_dump_json().encode())

    async def _repeat_wakes(self, now: float) -> None:
        for endpoint_id in list(self._held):
            if self._has_worker(endpoint_id, now) or not self._demand.waiting(endpoint_id):
                del self._held[endpoint_id]
        for endpoint_id, until in list(self._tasks.items()):
            if until <= now or self._has_worker(endpoint_id, now):
                del self._tasks[endpoint_id]
        for endpoint_id in self._held | self._tasks:
            await self._publish_wake(endpoint_id)

    async def _publish_wake(self, endpoint_id: str) -> None:
        wake = WakeUp(gateway=self._gateway, endpoint_id=endpoint_id, waiting=max(1, self._demand.waiting(endpoint_id)))
        await self._publish(wake_subject(endpoint_id), wake.model_dump_json().encode())

    async def _publish(self, subject: str, payload: bytes) -> None:
        """Stale demand is worthless, so nothing is buffered while NATS is away."""
        if self._nats.is_connected:
            await self._nats.publish(subject, payload)
