"""Reading server-sent events from bytes as they come (WHATWG HTML, section 9.2.6 "Interpreting an event stream")."""

import re
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class SseEvent(NamedTuple):
    """One event: its name (empty when the stream gives none) and its data, several lines joined with a line feed."""

    name: bytes
    data: bytes


class EventTooLarge(ValueError):
    """An event exceeds the parser's bound."""


class SseParser:
    """Give it pieces of a stream in order; it answers the events that each piece completes.

    Comments, ids and retry times are skipped. Events without a data line are dropped, those with an empty one are kept.
    At most `max_event_bytes` are held for one event.
    """

    def __init__(self, max_event_bytes: int = 8 << 20) -> None:
        self._max_event_bytes = max_event_bytes
        self._rest = bytearray()
        self._name = b""
        self._data: list[bytes] = []
        self._size = 0
        self._at_start = True

    def feed(self, piece: bytes) -> list[SseEvent]:
        """The events completed by `piece`. Raises EventTooLarge."""
        if not self._at_start and b"\n" not in piece and b"\r" not in piece and not self._rest.endswith(b"\r"):
            self._rest += piece  # a bytearray: a long line that comes in many pieces is scanned once
            self._check_size()
            return []
        text = bytes(self._rest + piece)
        if self._at_start:
            if len(text) < len(_BOM) and _BOM.startswith(text):
                self._rest = bytearray(text)
                return []
            text = text.removeprefix(_BOM)
            self._at_start = False
        held = b""
        if text.endswith(b"\r"):  # the line feed that belongs to it may be in the next piece
            text, held = text[:-1], b"\r"
        *lines, rest = _LINE_END.split(text)
        self._rest = bytearray(rest + held)
        events: list[SseEvent] = []
        for line in lines:
            if line:
                self._take(line)
            else:
                if self._data:
                    events.append(SseEvent(self._name, b"\n".join(self._data)))
                self._name, self._data, self._size = b"", [], 0
        self._check_size()
        return events

    def _check_size(self) -> None:
        if self._size + len(self._rest) > self._max_event_bytes:
            raise self._too_large()

    def _too_large(self) -> EventTooLarge:
        return EventTooLarge(f"an event is longer than {self._max_event_bytes} bytes")

    def _take(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field == b"data":
            value = value.removeprefix(b" ")
            self._data.append(value)
            self._size += len(value) + 1
            if self._size > self._max_event_bytes:
                raise self._too_large()
        elif field == b"event":
            self._name = value.removeprefix(b" ")
