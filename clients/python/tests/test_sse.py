"""The event decoder against chunks cut anywhere."""

import pytest

from model_engine.sse import SseDecoder, SseFrame

STREAM = (
    "id: 1\r\nevent: a\r\ndata: x: y\r\n\r\n"
    ": comment\n\n"
    "data:no space\ndata:  two\nretry: 5\nunknown\n\n"
    "id: 3\ndata\n\n"
    "event: without data\n\n"
    "data: ü\u2028\x85\n\n"
    "data: cut off"
).encode()

FRAMES = [
    SseFrame("x: y", "a", "1"),
    SseFrame("no space\n two"),
    SseFrame("", "message", "3"),
    SseFrame("ü\u2028\x85"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(STREAM)])
def test_chunks_may_be_cut_anywhere(size: int) -> None:
    decoder = SseDecoder()
    chunks = [STREAM[i : i + size] for i in range(0, len(STREAM), size)]
    assert [frame for chunk in chunks for frame in decoder.feed(chunk)] == FRAMES
