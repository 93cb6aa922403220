"""Logs: one JSON object per line on standard error, with the trace and whatever `extra={…}` holds."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

from model_engine_chassis import trace

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """One line per record; keys given by `extra` stand beside the standard ones."""

    def __init__(self, service: str, instance: str) -> None:
        super().__init__()
        self._service, self._instance = service, instance

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "service": self._service,
            "instance": self._instance,
        }
        if (context := trace.current()) is not None:
            line |= {"trace_id": context.trace_id, "span_id": context.span_id}
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD and key not in line}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """For people: time, level, logger, message and the extra keys."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        extra = " ".join(f"{key}={value}" for key, value in vars(record).items() if key not in _STANDARD)
        text = f"{datetime.fromtimestamp(record.created).astimezone():%H:%M:%S} {record.levelname:<7} {record.name}: "
        text += record.getMessage() + (f"  [{extra}]" if extra else "")
        return text + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


def configure(level: str, log_format: Literal["json", "text"], service: str, instance: str) -> None:
    """Send every log record of this process to standard error in the chosen format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service, instance) if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("pymongo", "asyncio", "httpx", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
