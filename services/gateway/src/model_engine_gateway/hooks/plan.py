"""Which hooks run after one call, and with what: decided when the call is accepted. Pure."""

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from model_engine_contracts.api.common import CallbackAuth, CallbackBasicAuth
from model_engine_contracts.documents import EndpointDocument

CALLBACK = "callback"
LOGGING = "logging"
BILLING = "billing"

_AUTH: TypeAdapter[CallbackAuth] = TypeAdapter(CallbackAuth)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class EndpointHooks(_Part):
    """What an endpoint says about hooks."""

    names: tuple[str, ...]
    endpoint_id: str
    endpoint_name: str
    endpoint_type: str
    bundle_id: str
    labels: dict[str, str]
    billing_tags_json: str | None
    owner: str
    created_by: str
    default_callback_url: str | None
    default_callback_auth: CallbackAuth | None = Field(repr=False)


class Callback(_Part):
    """Whom to tell of a result. `signer` is the owner whose secret signs it."""

    url: str = Field(repr=False)
    auth: CallbackAuth = Field(repr=False)
    signer: str


class PlannedHooks(_Part):
    """The hooks of one call. `caller` is its owner; `request` is JSON text, kept only where a hook needs it."""

    endpoint: EndpointHooks
    caller: str
    callback: Callback | None
    request: str | None

    @property
    def names(self) -> frozenset[str]:
        """The hooks that have something to do."""
        names = frozenset(self.endpoint.names)
        return names if self.callback else names - {CALLBACK}


def endpoint_hooks(document: EndpointDocument) -> EndpointHooks | None:
    """The hooks of an endpoint, None where it has none."""
    spec = document.spec
    if not spec.post_inference_hooks:
        return None
    auth = spec.default_callback_auth_json
    return EndpointHooks(
        names=tuple(name.lower() for name in spec.post_inference_hooks),
        endpoint_id=document.id,
        endpoint_name=document.name,
        endpoint_type=spec.endpoint_type,
        bundle_id=spec.bundle.id,
        labels=spec.labels,
        billing_tags_json=spec.billing_tags_json,
        owner=document.owner,
        created_by=document.created_by,
        default_callback_url=spec.default_callback_url,
        default_callback_auth=None if auth is None else _AUTH.validate_json(auth),
    )


def plan_hooks(
    endpoint: EndpointHooks, caller: str, request: bytes, callback_url: str | None, callback_auth: CallbackAuth | None
) -> PlannedHooks:
    """The hooks of a call of this endpoint by `caller`."""
    callback = _callback(endpoint, caller, callback_url, callback_auth) if CALLBACK in endpoint.names else None
    return PlannedHooks(
        endpoint=endpoint.model_copy(update={"default_callback_url": None, "default_callback_auth": None}),
        caller=caller,
        callback=callback,
        request=request.decode() if LOGGING in endpoint.names else None,
    )


def _callback(
    endpoint: EndpointHooks, caller: str, callback_url: str | None, callback_auth: CallbackAuth | None
) -> Callback | None:
    """The call's address and credentials, else the endpoint's.

    The endpoint's credentials go to its own address, or where its own owner says: anybody may call a public endpoint,
    and must not learn them by naming an address.
    """
    url = callback_url or endpoint.default_callback_url
    if not url:
        return None
    auth = callback_auth
    if auth is None and (not callback_url or caller == endpoint.owner):
        auth = endpoint.default_callback_auth
    if auth is None:
        auth = CallbackBasicAuth(kind="basic", username=endpoint.created_by, password="")
    return Callback(url=url, auth=auth, signer=caller if callback_url else endpoint.owner)
