"""Who may do what: the one place that says which scope each request needs, for every route there is and will be."""

from model_engine_chassis.asgi_server import Scope
from model_engine_contracts.api.api_keys import AccessScope
from model_engine_gateway.errors import ApiError
from model_engine_gateway.principals import Principal, Principals, check_admin

PRINCIPAL = "model_engine.principal"
"""Where the ASGI scope of an admitted request holds its principal."""

ADMIN_PREFIX = "/v1/admin/"
"""Beneath it only the administrator's token opens anything; scopes have no part in that."""

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_INFERENCE = ("/v1/async-tasks", "/v1/sync-tasks", "/v1/streaming-tasks", "/v1/dead-letters")


def needed_scope(method: str, path: str) -> AccessScope:
    """Reading needs `read`, calling endpoints needs `invoke`, every other change needs `manage`."""
    if method in SAFE_METHODS:
        return AccessScope.READ
    if path.startswith(_INFERENCE):
        return AccessScope.INVOKE
    return AccessScope.MANAGE


def check_scope(principal: Principal, method: str, path: str) -> None:
    """Raises ApiError 403 where the principal's key does not have the scope that the request needs."""
    needed = needed_scope(method, path)
    if needed not in principal.scopes:
        held = ", ".join(f"'{scope}'" for scope in sorted(principal.scopes)) or "none"
        raise ApiError(
            403,
            f"This request needs an API key with the scope '{needed}'; this key has {held}. "
            "Ask the administrator for a key with that scope.",
            "insufficient_scope",
            {"www-authenticate": f'Bearer error="insufficient_scope", scope="{needed}"'},
        )


class Admission:
    """Admits requests: by the administrator's token beneath ADMIN_PREFIX, by a key with the right scope elsewhere."""

    def __init__(self, principals: Principals, admin_token: str) -> None:
        self._principals = principals
        self._admin_token = admin_token

    async def admit(self, scope: Scope) -> Principal:
        """The caller, also left in the ASGI scope, even where its own scope is too small.

        Raises ApiError 401, 403 and 503.
        """
        authorization = next((value for name, value in scope["headers"] if name == b"authorization"), None)
        if scope["path"].startswith(ADMIN_PREFIX):
            principal = scope[PRINCIPAL] = check_admin(authorization, self._admin_token)
            return principal
        principal = scope[PRINCIPAL] = await self._principals.authenticate(authorization)
        check_scope(principal, scope["method"], scope["path"])
        return principal
