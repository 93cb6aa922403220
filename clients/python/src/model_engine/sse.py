"""Reads server-sent events from bytes as they arrive (WHATWG HTML, section 9.2), without doing any I/O."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SseFrame:
    """One event of the stream; `id` is None when the event has none of its own."""

    data: str
    event: str = "message"
    id: str | None = None


@dataclass(slots=True)
class SseDecoder:
    """Feed it the chunks of one response; it gives each event once its empty line has arrived.

    An event that the connection's end cuts off is dropped, as the standard says: it will come again after a resume.
    """

    _rest: bytes = b""
    _data: list[str] = field(default_factory=list)
    _event: str = ""
    _id: str | None = None

    def feed(self, chunk: bytes) -> list[SseFrame]:
        """The events that `chunk` completes."""
        # Lines end at LF or CRLF only: JSON may hold other characters at which str.splitlines() would split.
        *lines, self._rest = (self._rest + chunk).replace(b"\r\n", b"\n").split(b"\n")
        frames = [self._line(line.rstrip(b"\r").decode("utf-8", "replace")) for line in lines]
        return [frame for frame in frames if frame is not None]

    def _line(self, line: str) -> SseFrame | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _dispatch(self) -> SseFrame | None:
        frame = SseFrame("\n".join(self._data), self._event or "message", self._id) if self._data else None
        self._data, self._event, self._id = [], "", None
        return frame
