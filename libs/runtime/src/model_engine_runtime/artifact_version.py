"""What tells apart the contents that one address gives over time, where their hash is not known."""

from collections.abc import Mapping


def version_of(headers: Mapping[str, str]) -> str | None:
    """The version that an HTTP answer names: its ETag, else time and length (RFC 9110, 8.8); None where it has none.

    Names of headers are in lower case, or the mapping does not mind.
    """
    if etag := headers.get("etag"):
        return etag
    modified, length = headers.get("last-modified"), headers.get("content-length")
    return f"{modified}, {length} B" if modified and length else None
