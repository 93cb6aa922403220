"""The forwarder's own metrics, prefix `modelengine_forwarder_`."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from model_engine_chassis.limiter import Limiter
from model_engine_forwarder.readiness import Readiness

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

CLIENT_GONE = 499
"""The status counted for a caller who left before the answer."""


class Metrics:
    """Counts and times per route. Routes come from the configuration, so labels are bounded."""

    def __init__(self, registry: CollectorRegistry, limiter: Limiter, readiness: Readiness) -> None:
        self._registry = registry
        self._requests = Counter(
            "modelengine_forwarder_requests",
            "Requests by route and status; 499 means that the caller left.",
            ["route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "modelengine_forwarder_request_seconds",
            "Time from the head of a request to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._failures = Counter(
            "modelengine_forwarder_model_server_failures",
            "Calls of the model server that failed, by code.",
            ["code"],
            registry=registry,
        )
        self._tasks = Counter(
            "modelengine_forwarder_tasks",
            "Async tasks by what became of this delivery: success, failure, expired or retried.",
            ["outcome"],
            registry=registry,
        )
        running = Gauge(
            "modelengine_forwarder_running_requests",
            "Requests that hold a place of max_concurrency.",
            registry=registry,
        )
        running.set_function(lambda: limiter.running)
        bound = Gauge("modelengine_forwarder_max_concurrency", "The bound of running requests.", registry=registry)
        bound.set(limiter.limit)
        ready = Gauge(
            "modelengine_forwarder_ready",
            "1 when the model server is ready and no stop signal has come.",
            registry=registry,
        )
        ready.set_function(lambda: readiness.problem is None)
        self._by_status: dict[tuple[str, int], Counter] = {}
        self._by_route: dict[str, Histogram] = {}

    def request(self, route: str, status: int, seconds: float) -> None:
        """One request is over."""
        counter = self._by_status.get((route, status))
        if counter is None:
            counter = self._by_status[route, status] = self._requests.labels(route, str(status))
            self._by_route[route] = self._seconds.labels(route)
        counter.inc()
        self._by_route[route].observe(seconds)

    def failure(self, code: str) -> None:
        """One call of the model server failed."""
        self._failures.labels(code).inc()

    def task(self, outcome: str) -> None:
        """One delivery of an async task is over."""
        self._tasks.labels(outcome).inc()

    def render(self) -> bytes:
        """The text exposition."""
        return generate_latest(self._registry)
