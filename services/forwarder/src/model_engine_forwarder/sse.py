"""The events that callers get, as bytes (WHATWG HTML, section 9.2)."""

from model_engine_forwarder.json_bytes import NotJson, decode, encode


def result_frame(data: bytes, as_text: bool) -> bytes:
    """One event around the data of one of the model server's: compact JSON if it is JSON, else text.

    Always text where `as_text` asks for that.
    """
    return b'data: {"result":%b}\r\n\r\n' % (_text(data) if as_text else _json_or_text(data))


def _json_or_text(data: bytes) -> bytes:
    try:
        return encode(decode(data, constants=False))
    except (NotJson, RecursionError):
        return _text(data)


def _text(data: bytes) -> bytes:
    return encode(data.decode(errors="replace"))


def error_frame(error: dict[str, object]) -> bytes:
    """The event that ends a stream which broke: named `error`, its data `{"error": …}`."""
    return b"event: error\r\ndata: %b\r\n\r\n" % encode({"error": error})


def comment_frame(text: str) -> bytes:
    """A comment, which readers skip; it shows that the stream lives."""
    return b": %b\r\n\r\n" % text.encode()
