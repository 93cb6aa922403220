"""Why an endpoint is as it is, put together from its status and its history. Pure."""

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from model_engine.history import HistoryEvent
from model_engine_contracts.api.endpoints import GetModelEndpointV1Response

RECENT_EVENTS = 10
LOG_LINES = 20

_REASON = re.compile(r"(?P<code>[A-Z_]+): (?P<cause>.*) \((?P<remedy>.*)\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a person needs to mend an endpoint. All but `events`, the newest of its history, is of its present failure.

    `exit_code` is 128 plus the number of the signal where one ended the process; `log_lines` are the last ones of the
    build or of the worker that failed.
    """

    code: str | None
    cause: str | None
    exit_code: int | None
    remedy: str | None
    log_lines: tuple[str, ...]
    events: tuple[HistoryEvent, ...]


def explain(endpoint: GetModelEndpointV1Response, history: Iterable[HistoryEvent]) -> Explanation:
    """The explanation of `endpoint`; `history` is its events, oldest first."""
    recent: deque[HistoryEvent] = deque(maxlen=RECENT_EVENTS)
    failure = None
    for event in history:
        recent.append(event)
        failure = (
            event.data.get("failure") if event.type.startswith("modelengine.endpoint.status-changed.") else failure
        )
    if endpoint.status_reason is None:
        return Explanation(None, None, None, None, (), tuple(recent))
    if failure is not None and endpoint.status_reason.startswith(f"{failure['code']}:"):
        lines = tuple(failure["log_tail"].splitlines()[-LOG_LINES:])
        code, cause, remedy = (failure[name] for name in ("code", "message", "remedy"))
        return Explanation(code, cause, failure.get("exit_code"), remedy, lines, tuple(recent))
    # The history is kept for some days only; the status itself tells the rest.
    parts = _REASON.fullmatch(endpoint.status_reason)
    code, cause, remedy = parts.groups() if parts else (None, endpoint.status_reason, None)
    return Explanation(code, cause, None, remedy, (), tuple(recent))
