"""How much each endpoint is asked for: what this gateway tells the autoscaler."""

from dataclasses import dataclass

from model_engine_contracts.demand import EndpointDemand


@dataclass(slots=True)
class _Load:
    in_flight: int = 0
    waiting: int = 0
    area: float = 0.0
    since: float = 0.0

    def advance(self, now: float) -> None:
        self.area += (self.in_flight + self.waiting) * (now - self.since)
        self.since = now


class DemandMeter:
    """Counts requests per endpoint and integrates them over time. Times in seconds of one monotonic clock."""

    def __init__(self, now: float) -> None:
        self._loads: dict[str, _Load] = {}
        self._reported_at = now

    def change(self, endpoint_id: str, now: float, *, in_flight: int = 0, waiting: int = 0) -> None:
        """Add to (or, negative, take from) the requests at a worker or held for one."""
        load = self._loads.get(endpoint_id)
        if load is None:
            load = self._loads[endpoint_id] = _Load(since=now)
        load.advance(now)
        load.in_flight += in_flight
        load.waiting += waiting

    def waiting(self, endpoint_id: str) -> int:
        """Requests of this endpoint that are held for a worker now."""
        load = self._loads.get(endpoint_id)
        return load.waiting if load else 0

    def totals(self) -> tuple[int, int]:
        """All requests at workers, and all held ones."""
        return sum(load.in_flight for load in self._loads.values()), sum(load.waiting for load in self._loads.values())

    def report(self, now: float) -> dict[str, EndpointDemand]:
        """The demand since the last report; endpoints without any are left out, and forgotten."""
        interval = max(now - self._reported_at, 1e-9)
        self._reported_at = now
        demands: dict[str, EndpointDemand] = {}
        for endpoint_id, load in list(self._loads.items()):
            load.advance(now)
            if load.area > 0 or load.in_flight or load.waiting:
                demands[endpoint_id] = EndpointDemand(
                    in_flight=load.in_flight, waiting=load.waiting, average=load.area / interval
                )
                load.area = 0.0
            else:
                del self._loads[endpoint_id]
        return demands
