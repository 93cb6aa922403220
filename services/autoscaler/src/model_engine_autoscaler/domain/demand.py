"""What gateways report, kept as samples per endpoint: the input of the policy for sync and streaming."""

from collections import deque
from dataclasses import dataclass, field

from model_engine_contracts.demand import STALE_AFTER_SECONDS, DemandReport, WakeUp


@dataclass(slots=True)
class _Endpoint:
    reports: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    """Gateway -> (time, average concurrency, waiting)."""
    wakes: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Gateway -> (time, waiting)."""
    samples: deque[tuple[float, float]] = field(default_factory=deque)

    def concurrency(self, now: float) -> float:
        return sum(average for at, average, _ in self.reports.values() if now - at < STALE_AFTER_SECONDS)

    def waiting(self, now: float) -> int:
        held = {
            gateway: waiting for gateway, (at, _, waiting) in self.reports.items() if now - at < STALE_AFTER_SECONDS
        }
        woken = {gateway: waiting for gateway, (at, waiting) in self.wakes.items() if now - at < STALE_AFTER_SECONDS}
        return sum(max(held.get(gateway, 0), woken.get(gateway, 0)) for gateway in held.keys() | woken.keys())


@dataclass(slots=True)
class Demand:
    """The demand of all endpoints. Times in seconds of one monotonic clock; `window` is the longest that is kept."""

    window: float
    _endpoints: dict[str, _Endpoint] = field(default_factory=dict)

    def record_report(self, report: DemandReport, now: float) -> None:
        """Keep the newest report of a gateway."""
        for endpoint_id, demand in report.endpoints.items():
            entry = self._endpoints.setdefault(endpoint_id, _Endpoint())
            entry.reports[report.gateway] = (now, demand.average, demand.waiting)
            if not demand.waiting:
                entry.wakes.pop(report.gateway, None)

    def record_wake(self, wake: WakeUp, now: float) -> None:
        """Keep that a gateway holds requests for an endpoint without a worker."""
        entry = self._endpoints.setdefault(wake.endpoint_id, _Endpoint())
        entry.wakes[wake.gateway] = (now, wake.waiting)

    def sample(self, now: float) -> None:
        """Add one sample per endpoint and forget what is older than the window; call it once per tick."""
        for endpoint_id in list(self._endpoints):
            entry = self._endpoints[endpoint_id]
            entry.samples.append((now, entry.concurrency(now)))
            while entry.samples and now - entry.samples[0][0] > self.window:
                entry.samples.popleft()
            if not entry.waiting(now) and not any(value for _, value in entry.samples):
                del self._endpoints[endpoint_id]

    def waiting(self, endpoint_id: str, now: float) -> int:
        """Requests held for this endpoint by all gateways."""
        entry = self._endpoints.get(endpoint_id)
        return entry.waiting(now) if entry else 0

    def mean(self, endpoint_id: str, seconds: float, now: float) -> float:
        """The mean concurrency over the last `seconds`; a time without a report counts as zero."""
        entry = self._endpoints.get(endpoint_id)
        if entry is None:
            return 0.0
        values = [value for at, value in entry.samples if now - at < seconds]
        return sum(values) / len(values) if values else 0.0
