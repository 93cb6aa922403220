"""Signatures of webhooks: Standard Webhooks 1.0 with its symmetric scheme `v1` (HMAC-SHA256).

Specification: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from datetime import datetime

SECRET_PREFIX = "whsec_"  # noqa: S105  # how secrets begin, not one
SECRET_BYTES = 32


def new_secret() -> str:
    """A secret for one receiver: 256 random bits as `whsec_` and base64."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signed_headers(secret: str, message_id: str, moment: datetime, body: bytes) -> dict[str, str]:
    """The three headers that let a receiver with the same secret verify `body`.

    `message_id` stays the same when a message is sent again, `moment` (with its zone) is that of this attempt. Raises
    ValueError where the secret is not `whsec_` and base64.
    """
    timestamp = str(int(moment.timestamp()))
    signature = hmac.digest(_key(secret), f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError(f"the secret of a webhook is not {SECRET_PREFIX} and base64") from error
    if not key:
        raise ValueError("the secret of a webhook is empty")
    return key
