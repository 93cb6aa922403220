"""Server-sent events are read whole wherever the stream is cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_engine_chassis.sse import EventTooLarge, SseEvent, SseParser

STREAM = (
    b"\xef\xbb\xbf: ping\r\n\r\n"
    b"data: one\n\n"
    b"event: error\r\ndata:  two \r\ndata\r\ndata:three\r\n\r\n"
    b"id: 7\rdata: four\r\r"
    b"event: nothing\n\n"
    b"data:\n\n"
    b"data: unfinished"
)
EVENTS = [
    SseEvent(b"", b"one"),
    SseEvent(b"error", b" two \n\nthree"),
    SseEvent(b"", b"four"),
    SseEvent(b"", b""),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_cuts_do_not_change_the_events(cuts: list[int]) -> None:
    parser = SseParser()
    edges = [0, *sorted(cuts), len(STREAM)]
    seen = [event for start, end in itertools.pairwise(edges) for event in parser.feed(STREAM[start:end])]
    assert seen == EVENTS


@pytest.mark.parametrize(
    "stream", [b"data: " + b"x" * 100, b"data: xxxxxxxxxx\n" * 10, b"data: " + b"x" * 100 + b"\n\n"]
)
def test_an_event_is_bounded(stream: bytes) -> None:
    with pytest.raises(EventTooLarge):
        SseParser(max_event_bytes=50).feed(stream)
