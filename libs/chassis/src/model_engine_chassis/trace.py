"""Trace context: one trace runs through HTTP and NATS headers into every log line.

Format: W3C Trace Context, header `traceparent` = `00-<trace id>-<span id>-<flags>`.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The span that the current work belongs to; ids in lower-case hexadecimal."""

    trace_id: str
    span_id: str
    flags: str = "01"

    @property
    def traceparent(self) -> str:
        """The header that makes the receiver's work a child of this span."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


_current: ContextVar[TraceContext | None] = ContextVar("trace", default=None)


def current() -> TraceContext | None:
    """The trace context of the running task, if any."""
    return _current.get()


def child_of(traceparent: str | None) -> TraceContext:
    """A new span: in the trace of a valid header, else in a new trace."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match and match[1] != "0" * 32 and match[2] != "0" * 16:
        return TraceContext(match[1], os.urandom(8).hex(), match[3])
    return TraceContext(os.urandom(16).hex(), os.urandom(8).hex())


@contextmanager
def use(traceparent: str | None) -> Iterator[TraceContext]:
    """Work inside the block belongs to a new span that continues `traceparent` (or starts a trace)."""
    context = child_of(traceparent)
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


def outgoing_headers() -> Mapping[str, str]:
    """What to send along with a request or message; empty outside of any trace."""
    context = _current.get()
    return {} if context is None else {"traceparent": context.traceparent}
