"""The events that callers get, as bytes (WHATWG HTML, section 9.2)."""

from model_engine_forwarder.json_bytes import encode, is_json

_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")


def result_frame(data: bytes, as_text: bool) -> bytes:
    """One event around the data of one of the model server's.

    The data is taken over as JSON if it is JSON, else as text; always as text where `as_text` asks for that.
    """
    if not as_text and is_json(data):
        one_line = data.translate(_LINE_ENDS)  # within JSON these stand between tokens only
        return b'data: {"result":%b}\r\n\r\n' % one_line
    return b'data: {"result":%b}\r\n\r\n' % encode(data.decode(errors="replace"))


def error_frame(error: dict[str, object]) -> bytes:
    """The event that ends a stream which broke: named `error`, its data `{"error": …}`."""
    return b"event: error\r\ndata: %b\r\n\r\n" % encode({"error": error})


def comment_frame(text: str) -> bytes:
    """A comment, which readers skip; it shows that the stream lives."""
    return b": %b\r\n\r\n" % text.encode()
