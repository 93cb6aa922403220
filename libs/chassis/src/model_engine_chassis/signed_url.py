"""Signed addresses of the gateway: whoever holds one may do one thing with one object until a moment, nothing else.

Signature: hexadecimal HMAC-SHA256 (RFC 2104) over "<what it opens>:<expiry as Unix time>". What it opens is the id of
an artifact, "file:<path>", "result:<id>" or "upload:<id>"; ids hold no colon.
"""

import hashlib
import hmac
import time
from urllib.parse import urlencode


def sign_artifact_url(gateway_url: str, artifact_id: str, secret: str, *, valid_seconds: float) -> str:
    """The address from which an artifact can be read for `valid_seconds` from now."""
    return _address(gateway_url, f"/v1/artifacts/{artifact_id}/content", {}, artifact_id, secret, valid_seconds)


def is_artifact_signature(artifact_id: str, expires: int, signature: str, secret: str) -> bool:
    """Whether the signature is right and its time has not passed."""
    return _is_signature(artifact_id, expires, signature, secret)


def sign_file_url(gateway_url: str, path: str, secret: str, *, valid_seconds: float) -> str:
    """The address from which a file at an absolute path of the gateway's disk can be read."""
    return _address(gateway_url, "/v1/artifact-files", {"path": path}, f"file:{path}", secret, valid_seconds)


def is_file_signature(path: str, expires: int, signature: str, secret: str) -> bool:
    """The same for the address of a file."""
    return _is_signature(f"file:{path}", expires, signature, secret)


def sign_result_url(gateway_url: str, result_id: str, secret: str, *, valid_seconds: float) -> str:
    """The address from which a stored result can be read."""
    return _address(gateway_url, f"/v1/results/{result_id}/content", {}, f"result:{result_id}", secret, valid_seconds)


def is_result_signature(result_id: str, expires: int, signature: str, secret: str) -> bool:
    """The same for the address of a result."""
    return _is_signature(f"result:{result_id}", expires, signature, secret)


def sign_upload_url(gateway_url: str, result_id: str, secret: str, *, valid_seconds: float) -> str:
    """The address to which one result can be sent with PUT."""
    return _address(gateway_url, f"/v1/results/{result_id}", {}, f"upload:{result_id}", secret, valid_seconds)


def is_upload_signature(result_id: str, expires: int, signature: str, secret: str) -> bool:
    """The same for the address of an upload."""
    return _is_signature(f"upload:{result_id}", expires, signature, secret)


def _address(base: str, path: str, query: dict[str, str], opens: str, secret: str, valid_seconds: float) -> str:
    expires = int(time.time() + valid_seconds)
    signed = urlencode({**query, "expires": expires, "signature": _signature(opens, expires, secret)})
    return f"{base.rstrip('/')}{path}?{signed}"


def _is_signature(opens: str, expires: int, signature: str, secret: str) -> bool:
    expected = _signature(opens, expires, secret)
    return hmac.compare_digest(expected.encode(), signature.encode()) and time.time() < expires


def _signature(opens: str, expires: int, secret: str) -> str:
    return hmac.new(secret.encode(), f"{opens}:{expires}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
