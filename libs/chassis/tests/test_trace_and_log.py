"""Trace context in every log line, continued from and to the headers of HTTP and NATS."""

import io
import json
import logging
import sys
from typing import Any

import pytest

from model_engine_chassis import log, trace

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Logs of a service with JSON lines; calling it gives what was logged."""
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        log.configure("INFO", "json", "gateway", "gateway-1")
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_valid_parent_is_continued_with_a_new_span() -> None:
    with trace.use(PARENT) as context:
        assert context.trace_id == TRACE
        assert context.span_id != "b7ad6b7169203331"
        assert trace.outgoing_headers() == {"traceparent": f"00-{TRACE}-{context.span_id}-01"}
    assert trace.current() is None
    assert trace.outgoing_headers() == {}


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        PARENT.upper(),
        PARENT + "-x",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
    ],
)
def test_anything_else_starts_a_new_trace(header: str | None) -> None:
    with trace.use(header) as context:
        assert context.trace_id not in {TRACE, "0" * 32}
        assert len(context.trace_id) == 32


def test_a_line_has_the_trace_the_service_and_the_extra_keys(lines: Any) -> None:
    with trace.use(PARENT) as context:
        logging.getLogger("x").info("placed %d", 3, extra={"endpoint": "end_a", "service": "not this"})
    [line] = lines()
    assert line["message"] == "placed 3"
    assert (line["trace_id"], line["span_id"]) == (TRACE, context.span_id)
    assert (line["service"], line["instance"], line["level"], line["endpoint"]) == (
        "gateway",
        "gateway-1",
        "INFO",
        "end_a",
    )


def test_an_exception_is_one_line(lines: Any) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("x").exception("failed")
    [line] = lines()
    assert "ValueError: two\nlines" in line["exception"]


def test_what_json_cannot_say_is_logged_as_text(lines: Any) -> None:
    logging.getLogger("x").info("odd", extra={"value": {1, 2}, "text": "\ud800"})
    [line] = lines()
    assert line["value"] == "{1, 2}"
