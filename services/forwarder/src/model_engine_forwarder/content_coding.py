"""Undoing the content codings gzip and deflate, piece by piece (RFC 9110, section 8.4.1)."""

import zlib
from collections.abc import Iterator

CODINGS = (b"gzip", b"x-gzip", b"deflate")

_PIECE_BYTES = 1 << 18
_GZIP_OR_ZLIB = 47
_RAW = -15
_DEFLATE_METHOD = 8


class ContentDecoder:
    """Decodes one body of any length without holding it; raises zlib.error on bytes that are not so coded."""

    def __init__(self) -> None:
        self._inflate: zlib._Decompress | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` decodes to, in bounded pieces."""
        while data:
            if self._inflate is None or self._inflate.eof:
                # Some servers mean the bare format by "deflate": its first byte is not zlib's, nor gzip's.
                wrapped = data[0] & 0x0F == _DEFLATE_METHOD or data[0] == 0x1F
                self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB if wrapped else _RAW)
            piece = self._inflate.decompress(data, _PIECE_BYTES)
            data = self._inflate.unconsumed_tail or self._inflate.unused_data
            if piece:
                yield piece
