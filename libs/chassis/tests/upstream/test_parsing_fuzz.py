"""However an answer is cut into reads, the connection sees what llhttp sees in one piece."""

import asyncio
import contextlib
import socket
from itertools import pairwise

import httptools
from hypothesis import given, settings
from hypothesis import strategies as st

from model_engine_chassis.upstream.connection import Connection
from model_engine_chassis.upstream.limits import Limits

LIMITS = Limits(1, 1, 5.0, 5.0, 5.0, 5.0, 4096)


class Transport:
    """The calls that a connection makes to its transport."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.aborted = False

    def get_extra_info(self, name: str) -> socket.socket:
        return self.sock

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Whole:
    """llhttp's own reading of the first final answer in one piece."""

    def __init__(self, data: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.status = 0
        self.complete = False
        self.parser = httptools.HttpResponseParser(self)
        with contextlib.suppress(httptools.HttpParserError):
            self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if not self.status:
            if self.parser.get_status_code() < 200:
                self.headers = []
            else:
                self.status = self.parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self.body += data

    def on_message_complete(self) -> None:
        self.complete = self.status != 0


def chunked(parts: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n"


parts = st.lists(st.binary(max_size=40), max_size=5)
names = st.sampled_from([b"a", b"Content-Type", b"x-y", b"Set-Cookie"])
values = st.from_regex(rb"[!-~]([ -~]{0,18}[!-~])?", fullmatch=True)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    status = draw(st.sampled_from([200, 201, 204, 304, 404, 500]))
    lines = [b"%b: %b\r\n" % header for header in draw(st.lists(st.tuples(names, values), max_size=4))]
    content = draw(parts)
    framing = draw(st.sampled_from(["length", "chunked", "eof"]))
    body = b"" if status in (204, 304) else b"".join(content)
    if framing == "length":
        lines.append(b"content-length: %d\r\n" % len(body))
    elif framing == "chunked" and status not in (204, 304):
        lines.append(b"Transfer-Encoding: chunked\r\n")
        body = chunked(content)
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n"]))
    return interim + b"HTTP/1.1 %d X\r\n" % status + b"".join(lines) + b"\r\n" + body


async def read_in_pieces(data: bytes, cuts: list[int]) -> tuple[Connection, bytes]:
    left, right = socket.socketpair()
    with left, right:
        connection = Connection(asyncio.get_running_loop(), LIMITS)
        connection.connection_made(Transport(left))  # type: ignore[arg-type]  # only what Connection calls
        connection.begin(is_head=False)
        edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
        for start, end in pairwise(edges):
            if start < end and not connection.transport.is_closing():
                connection.data_received(data[start:end])
        if not connection.transport.is_closing():
            connection.eof_received()
        body = b"".join(connection._chunks)
        connection.rest()
        return connection, body


@settings(max_examples=200, deadline=None)
@given(answers(), st.lists(st.integers(min_value=0, max_value=500), max_size=8))
def test_any_cut_reads_like_the_whole(data: bytes, cuts: list[int]) -> None:
    whole = Whole(data)
    connection, body = asyncio.run(read_in_pieces(data, cuts))
    assert connection.error is None
    assert connection.done
    assert (connection.status, connection.headers, body) == (whole.status, whole.headers, whole.body)


@settings(max_examples=200, deadline=None)
@given(
    answers(),
    st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3)), min_size=1, max_size=3),
    st.lists(st.integers(min_value=0, max_value=500), max_size=8),
)
def test_damaged_answers_end_in_an_error_or_a_prefix(data: bytes, damage: list[tuple[int, bytes]], cuts) -> None:
    for place, junk in damage:
        place %= len(data)
        data = data[:place] + junk + data[place + 1 :]
    whole = Whole(data)
    connection, body = asyncio.run(read_in_pieces(data, cuts))
    assert connection.done
    if connection.error is None:
        assert (connection.status, body) == (whole.status, whole.body)
    else:
        assert not connection.keep_alive
