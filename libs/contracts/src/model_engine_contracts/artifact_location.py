"""Where a bundle's artifact is: an address whose scheme says who is asked, and optionally the hash of the content.

`#sha256=<64 hexadecimal digits>` at the end of a location fixes the content. Without it, the content is what is there
when an environment is made.
"""

import re

UPLOADED = "artifact"
"""The scheme of what was uploaded to the platform."""

OBJECT_STORES = frozenset({"s3", "gs", "az"})
WEB = frozenset({"http", "https"})
FILE = "file"
SCHEMES = frozenset({UPLOADED, FILE}) | OBJECT_STORES | WEB

_PIN = re.compile(r"#sha256=([0-9a-f]{64})")


def split_location(location: str) -> tuple[str, str | None]:
    """The location proper, and the SHA-256 that it fixes, if it fixes one."""
    address, mark, digest = location.rpartition("#sha256=")
    if mark and _PIN.fullmatch(mark + digest):
        return address, digest
    return location, None


def scheme_of(location: str) -> str:
    """The scheme in lower case; empty where there is none."""
    scheme, mark, _ = location.partition("://")
    return scheme.lower() if mark else ""
