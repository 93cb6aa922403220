"""Who is calling: from the `Authorization` header to a principal, without a database read per request.

A revocation or rotation reaches this process in two ways: at once by a broadcast on core NATS (`forget`), and within
a second by the poll of `run`, which does not depend on NATS. While both fail, known keys are honoured for a minute.
"""

import asyncio
import base64
import binascii
import hashlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from model_engine_contracts.api.api_keys import ALL_SCOPES, AccessScope
from model_engine_gateway.clock import now
from model_engine_gateway.errors import ApiError

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
GRACE_SECONDS = 60.0
CACHED_HEADERS = 10_000
READ_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller: `owner` is whose objects it sees, `user` is recorded as the creator of what it makes.

    Only the `privileged` may bring images of their own.
    """

    owner: str
    user: str
    key_id: str
    scopes: frozenset[AccessScope] = frozenset(ALL_SCOPES)
    privileged: bool = True


ADMINISTRATOR = Principal(owner="$administrator", user="administrator", key_id="admin-token")
"""Whoever has the administrator's token. No identity resolver can give this owner."""


@dataclass(frozen=True, slots=True)
class Known:
    """A principal, and the moment from which its credential must be looked up again; null: never."""

    principal: Principal
    until: datetime | None


class KeySource(Protocol):
    """Where keys are looked up; the repository in the service."""

    async def find_active(self, key_hash: str) -> dict[str, Any] | None:
        """The stored key of this hash, null where it is unknown or revoked."""

    async def changed_since(self, moment: datetime | None) -> list[tuple[str, datetime]]:
        """Ids and times of recent revocations and rotations."""


def new_key() -> str:
    """A new API key: 256 random bits."""
    return f"me_{secrets.token_urlsafe(32)}"


def key_hash(key: str) -> str:
    """What is stored of a key. A plain hash will do: a key is random, not a password that could be guessed."""
    return hashlib.sha256(key.encode()).hexdigest()


class Principals:
    """Authenticates requests from an in-process cache.

    `broadcasts_arrive` tells whether the connection over which revocations are broadcast is up. `identify` takes the
    place of the platform's own keys where the operator named an identity resolver.
    """

    def __init__(
        self,
        keys: KeySource,
        broadcasts_arrive: Callable[[], bool],
        identify: Callable[[str], Awaitable[Known | None]] | None = None,
    ) -> None:
        self._keys = keys
        self._broadcasts_arrive = broadcasts_arrive
        self._identify = identify or self._by_key
        self._cached: dict[bytes, Known] = {}
        self._confirmed_at = time.monotonic()
        self._newest_change: datetime | None = None

    async def authenticate(self, authorization: bytes | None) -> Principal:
        """The principal of a raw `Authorization` header; raises ApiError (401, or 503 while keys cannot be checked)."""
        if authorization is None:
            raise _unauthenticated("No authentication was passed in", "Bearer")
        known = self._cached.get(authorization)
        if known is not None and not _is_over(known.until):
            if time.monotonic() - self._confirmed_at > GRACE_SECONDS and not self._broadcasts_arrive():
                raise _unavailable()
            return known.principal
        self._cached.pop(authorization, None)
        scheme, key = read_credentials(authorization)
        if not key:
            raise _unauthenticated("Could not authenticate user", scheme)
        try:
            async with asyncio.timeout(READ_SECONDS):
                found = await self._identify(key)
        except Exception as error:
            log.warning("a credential could not be looked up: %r", error)
            raise _unavailable() from error
        if found is None:
            raise _unauthenticated("Could not authenticate user", scheme)
        if _is_over(found.until):
            raise _unauthenticated("Could not authenticate user", scheme, "api_key_expired")
        if len(self._cached) >= CACHED_HEADERS:
            del self._cached[next(iter(self._cached))]
        self._cached[authorization] = found
        return found.principal

    async def _by_key(self, key: str) -> Known | None:
        found = await self._keys.find_active(key_hash(key))
        if found is None:
            return None
        principal = Principal(
            owner=found["owner"],
            user=found["user"],
            key_id=found["_id"],
            scopes=frozenset(AccessScope(scope) for scope in found.get("scopes", ALL_SCOPES)),
            privileged=found.get("privileged", True),
        )
        return Known(principal, found.get("expires_at"))

    def forget(self, key_id: str) -> None:
        """Drop a key that was revoked or rotated at once."""
        for header in [header for header, known in self._cached.items() if known.principal.key_id == key_id]:
            del self._cached[header]

    async def poll(self) -> None:
        """Drop what was revoked or rotated since the last poll; raises what the database raises."""
        for key_id, changed_at in await self._keys.changed_since(self._newest_change):
            self.forget(key_id)
            self._newest_change = max(changed_at, self._newest_change or changed_at)
        self._confirmed_at = time.monotonic()

    async def run(self) -> None:
        """Poll every second until cancelled."""
        failing = False
        while True:
            try:
                async with asyncio.timeout(READ_SECONDS):
                    await self.poll()
                failing = False
            except Exception as error:  # noqa: BLE001 - the poll must outlive every trouble of the database
                if not failing:
                    log.warning("revoked API keys cannot be read: %r", error)
                failing = True
            await asyncio.sleep(POLL_SECONDS)


def read_credentials(authorization: bytes) -> tuple[str, str]:
    """Scheme and key of a header: Basic with the key as user name, or Bearer. Raises ApiError."""
    scheme, _, value = authorization.decode("latin-1").strip().partition(" ")
    value = value.strip()
    match scheme.lower():
        case "bearer":
            return "Bearer", value
        case "basic":
            try:
                decoded = base64.b64decode(value, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError) as error:
                raise _unauthenticated("Not authenticated", "Basic") from error
            user, colon, _ = decoded.partition(":")
            if not colon:
                raise _unauthenticated("Not authenticated", "Basic")
            return "Basic", user
    raise _unauthenticated("No authentication was passed in", "Bearer")


def check_admin(authorization: bytes | None, admin_token: str) -> Principal:
    """Let only the administrator's token in, by either scheme. Raises ApiError 401."""
    if authorization is None:
        raise _unauthenticated("No authentication was passed in", "Bearer")
    scheme, token = read_credentials(authorization)
    if not secrets.compare_digest(token.encode(), admin_token.encode()):
        raise _unauthenticated("Could not authenticate user", scheme)
    return ADMINISTRATOR


def _is_over(until: datetime | None) -> bool:
    return until is not None and until <= now()


def _unauthenticated(detail: str, scheme: str, code: str = "unauthenticated") -> ApiError:
    return ApiError(401, detail, code, {"www-authenticate": scheme})


def _unavailable() -> ApiError:
    return ApiError(
        503,
        "API keys cannot be checked at the moment. Please retry.",
        "authentication_unavailable",
        {"retry-after": "1"},
    )
