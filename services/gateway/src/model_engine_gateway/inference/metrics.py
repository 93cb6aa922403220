"""Metrics of predictions. No label grows with the number of endpoints."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

REQUESTS = Counter(
    "modelengine_gateway_predictions_total", "Predictions by route and HTTP status.", ["route", "status"]
)
SECONDS = Histogram(
    "modelengine_gateway_prediction_seconds", "From request to end of answer.", ["route"], buckets=_SECONDS
)
HOLD_SECONDS = Histogram("modelengine_gateway_hold_seconds", "Waiting for a worker.", buckets=_SECONDS)
ATTEMPTS = Counter(
    "modelengine_gateway_attempts_total", "Requests sent to workers, by what became of them.", ["outcome"]
)
IN_FLIGHT = Gauge("modelengine_gateway_predictions_in_flight", "Predictions at workers now.")
HELD = Gauge("modelengine_gateway_predictions_held", "Predictions that wait for a worker now.")
STREAM_EVENTS = Counter("modelengine_gateway_stream_events_total", "Events sent to clients of streams.")

ATTEMPT_ANSWERED = ATTEMPTS.labels("answered")
ATTEMPT_BUSY = ATTEMPTS.labels("busy")
ATTEMPT_REFUSED = ATTEMPTS.labels("refused")
ATTEMPT_BROKEN = ATTEMPTS.labels("broken")
