"""Identifiers: what they look like and how a free-form owner becomes a token of a subject."""

import hashlib
import os
import re
import time
import uuid

_BASE32HEX = "0123456789abcdefghijklmnopqrstuv"
_TOKEN = re.compile(r"[a-z0-9_-]{1,64}")
_ID = re.compile(r"[a-z0-9_-]{1,128}")


def new_id(prefix: str) -> str:
    """An identifier such as `end_d7k2…`: the prefix and 20 base32hex characters, sortable by time.

    The 12 bytes are four of time (seconds) and eight random ones, so two processes never need to agree on anything.
    """
    number = int.from_bytes(int(time.time()).to_bytes(4, "big") + os.urandom(8), "big") << 4
    digits = [_BASE32HEX[(number >> shift) & 31] for shift in range(95, -1, -5)]
    return f"{prefix}_{''.join(digits)}"


def new_task_id() -> str:
    """A UUID string, which is what clients expect of task ids."""
    return str(uuid.uuid4())


def owner_token(owner: str) -> str:
    """The subject token of an owner: the owner itself where it is a token already, else a readable stem and a hash.

    A hash in every mapped token keeps two owners that share a stem apart (`Ada` and `ada` never meet). A mapped token
    starts with `x-`, and no owner that is a token by itself may start with it without being mapped too.
    """
    if _TOKEN.fullmatch(owner) and not owner.startswith("x-"):
        return owner
    stem = re.sub(r"[^a-z0-9_-]+", "-", owner.lower()).strip("-")[:24]
    digest = hashlib.sha256(owner.encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return f"x-{stem}-{digest}" if stem else f"x-{digest}"


def is_subject_id(value: str) -> bool:
    """Whether a value may stand as one token of a subject."""
    return bool(_ID.fullmatch(value))
