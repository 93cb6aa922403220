"""Signed addresses of artifacts: whoever holds one may read one artifact until a moment, and nothing else.

Signature: hexadecimal HMAC-SHA256 (RFC 2104) over "<artifact id>:<expiry as Unix time>".
"""

import hashlib
import hmac
import time
from urllib.parse import urlencode


def sign_artifact_url(gateway_url: str, artifact_id: str, secret: str, *, valid_seconds: float) -> str:
    """The address from which an artifact can be read for `valid_seconds` from now."""
    expires = int(time.time() + valid_seconds)
    query = urlencode({"expires": expires, "signature": _signature(artifact_id, expires, secret)})
    return f"{gateway_url.rstrip('/')}/v1/artifacts/{artifact_id}/content?{query}"


def is_artifact_signature(artifact_id: str, expires: int, signature: str, secret: str) -> bool:
    """Whether the signature is right and its time has not passed."""
    expected = _signature(artifact_id, expires, secret)
    return hmac.compare_digest(expected.encode(), signature.encode()) and time.time() < expires


def _signature(artifact_id: str, expires: int, secret: str) -> str:
    return hmac.new(secret.encode(), f"{artifact_id}:{expires}".encode(), hashlib.sha256).hexdigest()
