"""The identity resolver that the operator names: whose a credential is, where API keys of the platform do not say it.

`ME_IDENTITY` is `keys` (the platform's own API keys), `any-string` (every string is its own owner: only for networks
where everybody may be anybody), or `module:factory`, a callable without arguments that gives an `IdentityResolver`.
"""

import importlib
import unicodedata
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from model_engine_chassis.settings_base import SettingsError
from model_engine_contracts.api.api_keys import ALL_SCOPES, AccessScope
from model_engine_gateway.clock import now
from model_engine_gateway.principals import ADMINISTRATOR, Known, Principal

KEYS = "keys"
ANY_STRING = "any-string"
CACHED = timedelta(seconds=1)
"""How long an answer of a resolver is believed, so that what it takes back is refused within a second."""

_MAX_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller as its resolver knows it: the team owns what the user makes."""

    user_id: str
    team_id: str
    is_privileged_user: bool
    scopes: frozenset[AccessScope] = frozenset(ALL_SCOPES)


class IdentityResolver(Protocol):
    """Knows whose a credential is. Called once a second per credential in use, with five seconds to answer."""

    async def resolve(self, credential: str) -> Identity | None:
        """The identity, null for a credential that is not known. What it raises is answered 503."""


Identify = Callable[[str], Awaitable[Known | None]]


class AnyString:
    """Every string is a user and its own team, privileged."""

    async def resolve(self, credential: str) -> Identity | None:
        """The string itself."""
        return Identity(user_id=credential, team_id=credential, is_privileged_user=True)


def load_identify(name: str) -> Identify | None:
    """What `ME_IDENTITY` names; null for the platform's own keys. Raises SettingsError."""
    if name == KEYS:
        return None
    resolver = AnyString() if name == ANY_STRING else _load(name)

    async def identify(credential: str) -> Known | None:
        identity = await resolver.resolve(credential)
        if identity is None or not (_is_id(identity.team_id) and _is_id(identity.user_id)):
            return None
        principal = Principal(
            owner=identity.team_id,
            user=identity.user_id,
            key_id=f"identity:{identity.user_id}",
            scopes=identity.scopes,
            privileged=identity.is_privileged_user,
        )
        return Known(principal, until=now() + CACHED)

    return identify


def _load(name: str) -> IdentityResolver:
    module, colon, factory = name.partition(":")
    if not (module and colon and factory):
        raise SettingsError([f"ME_IDENTITY: {name!r} is neither {KEYS} nor {ANY_STRING} nor module:factory"])
    try:
        resolver: IdentityResolver = getattr(importlib.import_module(module), factory)()
    except (ImportError, AttributeError) as error:
        raise SettingsError([f"ME_IDENTITY: {name!r} cannot be loaded: {error}"]) from error
    return resolver


def _is_id(text: str) -> bool:
    """An owner's or user's name: of bounded length, printable, and never the administrator's."""
    return (
        0 < len(text) <= _MAX_LENGTH
        and text != ADMINISTRATOR.owner
        and not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)
    )
