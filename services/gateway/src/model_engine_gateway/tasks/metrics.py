"""Metrics of async tasks. No label grows with the number of endpoints."""

from prometheus_client import Counter, Histogram

SUBMITTED = Counter(
    "modelengine_gateway_tasks_submitted_total", "Tasks by what became of their publication.", ["outcome"]
)
REPORTS = Counter("modelengine_gateway_task_reports_total", "Reports of workers by kind.", ["kind"])
SWEPT = Counter("modelengine_gateway_tasks_swept_total", "Tasks that the sweep acted on, by what it did.", ["action"])
DEAD_LETTERS = Counter("modelengine_gateway_dead_letters_total", "Messages that nobody could process.", ["stream"])
RESULT_BATCH = Histogram(
    "modelengine_gateway_result_batch", "Reports written at once.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500)
)
