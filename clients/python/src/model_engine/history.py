"""Events of the history as users read them: CloudEvents with a position in the history."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from model_engine.errors import InvalidAnswerError
from model_engine.sse import SseFrame


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """One event: `data` is what it says, `raw` all of it. Types that this client does not know are delivered too.

    `position` is the SSE id: reading may be resumed after it.
    """

    position: str
    id: str
    type: str
    subject: str
    time: datetime
    data: dict[str, Any]
    raw: dict[str, Any]


def read_event(frame: SseFrame) -> HistoryEvent:
    """The event in an SSE frame; raises InvalidAnswerError."""
    try:
        raw = json.loads(frame.data)
        return HistoryEvent(
            position=frame.id or str(raw["position"]),
            id=raw["id"],
            type=raw["type"],
            subject=raw["subject"],
            time=datetime.fromisoformat(raw["time"]),
            data=raw["data"],
            raw=raw,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidAnswerError(f"An event cannot be read ({error!r}): {frame.data[:200]}") from error
