"""Every call of the REST API as data: what is sent and how the answer is read. No I/O happens here."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote
from uuid import uuid4

from pydantic import BaseModel, TypeAdapter

from model_engine_contracts.api.api_keys import (
    CreateApiKeyRequest,
    CreateApiKeyResponse,
    ListApiKeysResponse,
    RevokeApiKeyResponse,
    RotateApiKeyRequest,
    RotateApiKeyResponse,
)
from model_engine_contracts.api.artifacts import CreateArtifactResponse
from model_engine_contracts.api.bundles import CreateModelBundleV2Request, CreateModelBundleV2Response
from model_engine_contracts.api.callbacks import CreateCallbackSecretResponse
from model_engine_contracts.api.endpoints import (
    CreateModelEndpointV1Request,
    CreateModelEndpointV1Response,
    DeleteModelEndpointV1Response,
    GetModelEndpointV1Response,
    ListModelEndpointRevisionsV1Response,
    ListModelEndpointsV1Response,
    RollbackModelEndpointV1Request,
    RollbackModelEndpointV1Response,
    UpdateModelEndpointV1Request,
    UpdateModelEndpointV1Response,
)
from model_engine_contracts.api.subscriptions import (
    CreateEventSubscriptionRequest,
    CreateEventSubscriptionResponse,
    DeleteEventSubscriptionResponse,
    EventDelivery,
    EventSubscriptionResponse,
    ListEventDeliveriesResponse,
    ListEventSubscriptionsResponse,
)
from model_engine_contracts.api.tasks import (
    CancelAsyncTaskResponse,
    CreateAsyncTaskV1Response,
    DeadLetterResponse,
    GetAsyncTaskV1Response,
    ListAsyncTasksResponse,
    ListDeadLettersResponse,
    ReplayDeadLetterResponse,
    SyncEndpointPredictV1Response,
    TaskStatus,
)

T = TypeVar("T")

LogSource = Literal["build", "worker"]

# The gateway ends a synchronous call after 300 s; the client waits a little longer, to hear what it says.
_LONGEST_CALL_SECONDS = 310.0
_ANSWER_MARGIN_SECONDS = 10.0
# The gateway sends a comment every 15 s on a silent event stream.
_SILENCE_SECONDS = 60.0
_UPLOAD_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """One HTTP request. `timeout_seconds` bounds the silence before the answer and between its parts.

    `repeatable`: sending it twice does no harm, as it does none with the header of `_once`. `upload` is a file whose
    bytes are the body.
    """

    method: str
    path: str
    read: Callable[[bytes], T]
    query: dict[str, str] = field(default_factory=dict)
    json: Any = None
    upload: Path | None = None
    headers: dict[str, str] = field(default_factory=dict)
    timeout_seconds: float | None = 30.0
    repeatable: bool = False


def _reader(answer_type: type[T]) -> Callable[[bytes], T]:
    def read(body: bytes) -> T:
        # Built at the first answer: a command line pays for the one schema that it needs.
        return TypeAdapter(answer_type).validate_json(body)

    return read


def _body(model: BaseModel) -> Any:
    return model.model_dump(mode="json", exclude_none=True)


def _once() -> dict[str, str]:
    """The header by which the service runs a request once, however often this request is sent."""
    return {"idempotency-key": uuid4().hex}


def _segment(identifier: str) -> str:
    return quote(identifier, safe="")


def upload_artifact(path: Path, python_version: str) -> Request[CreateArtifactResponse]:
    """Upload a bundle's artifact, made by `python_version` such as "3.11"."""
    headers = {"content-type": "application/octet-stream", "x-python-version": python_version} | _once()
    return Request(
        "POST",
        "/v1/artifacts",
        _reader(CreateArtifactResponse),
        upload=path,
        headers=headers,
        timeout_seconds=_UPLOAD_SECONDS,
        repeatable=True,
    )


def create_bundle(bundle: CreateModelBundleV2Request) -> Request[CreateModelBundleV2Response]:
    """Create a version of a bundle."""
    return Request(
        "POST",
        "/v2/model-bundles",
        _reader(CreateModelBundleV2Response),
        json=_body(bundle),
        headers=_once(),
        repeatable=True,
    )


def create_endpoint(endpoint: CreateModelEndpointV1Request) -> Request[CreateModelEndpointV1Response]:
    """Record a new endpoint."""
    return Request(
        "POST",
        "/v1/model-endpoints",
        _reader(CreateModelEndpointV1Response),
        json=_body(endpoint),
        headers=_once(),
        repeatable=True,
    )


def update_endpoint(endpoint_id: str, change: UpdateModelEndpointV1Request) -> Request[UpdateModelEndpointV1Response]:
    """Record a change of an endpoint; the same change twice is the same state."""
    path = f"/v1/model-endpoints/{_segment(endpoint_id)}"
    return Request("PUT", path, _reader(UpdateModelEndpointV1Response), json=_body(change), repeatable=True)


def get_endpoint(endpoint_id: str) -> Request[GetModelEndpointV1Response]:
    """One endpoint by its id."""
    return Request(
        "GET", f"/v1/model-endpoints/{_segment(endpoint_id)}", _reader(GetModelEndpointV1Response), repeatable=True
    )


def list_endpoints(name: str | None = None) -> Request[ListModelEndpointsV1Response]:
    """The caller's endpoints, by name if one is given."""
    query = {"name": name} if name is not None else {}
    return Request("GET", "/v1/model-endpoints", _reader(ListModelEndpointsV1Response), query=query, repeatable=True)


def list_revisions(endpoint_id: str) -> Request[ListModelEndpointRevisionsV1Response]:
    """The last generations of an endpoint, newest first."""
    path = f"/v1/model-endpoints/{_segment(endpoint_id)}/revisions"
    return Request("GET", path, _reader(ListModelEndpointRevisionsV1Response), repeatable=True)


def rollback_endpoint(endpoint_id: str, generation: int | None) -> Request[RollbackModelEndpointV1Response]:
    """Make an older generation the desired state again."""
    return Request(
        "POST",
        f"/v1/model-endpoints/{_segment(endpoint_id)}/rollback",
        _reader(RollbackModelEndpointV1Response),
        json=_body(RollbackModelEndpointV1Request(generation=generation)),
        headers=_once(),
        repeatable=True,
    )


def delete_endpoint(endpoint_id: str) -> Request[DeleteModelEndpointV1Response]:
    """Delete an endpoint; a repeat is answered 404."""
    path = f"/v1/model-endpoints/{_segment(endpoint_id)}"
    return Request("DELETE", path, _reader(DeleteModelEndpointV1Response), repeatable=True)


def predict(
    endpoint_id: str, args: Any, *, timeout_seconds: float | None, repeatable: bool
) -> Request[SyncEndpointPredictV1Response]:
    """Call a sync endpoint and wait for its answer."""
    body = {"args": args} if timeout_seconds is None else {"args": args, "timeout_seconds": timeout_seconds}
    patience = _LONGEST_CALL_SECONDS if timeout_seconds is None else timeout_seconds + _ANSWER_MARGIN_SECONDS
    return Request(
        "POST",
        "/v1/sync-tasks",
        _reader(SyncEndpointPredictV1Response),
        query={"model_endpoint_id": endpoint_id},
        json=body,
        timeout_seconds=patience,
        repeatable=repeatable,
    )


def stream(endpoint_id: str, args: Any, *, repeatable: bool) -> Request[bytes]:
    """Call a streaming endpoint; the answer is a stream of events."""
    return Request(
        "POST",
        "/v1/streaming-tasks",
        bytes,
        query={"model_endpoint_id": endpoint_id},
        json={"args": args},
        headers={"accept": "text/event-stream"},
        timeout_seconds=_LONGEST_CALL_SECONDS,
        repeatable=repeatable,
    )


def submit_task(endpoint_id: str, args: Any) -> Request[CreateAsyncTaskV1Response]:
    """Queue a task on an async endpoint."""
    return Request(
        "POST",
        "/v1/async-tasks",
        _reader(CreateAsyncTaskV1Response),
        query={"model_endpoint_id": endpoint_id},
        json={"args": args},
        headers=_once(),
        repeatable=True,
    )


def get_task(task_id: str, wait_seconds: float = 0) -> Request[GetAsyncTaskV1Response]:
    """Where a task stands, once it has ended or after so many seconds, of which the service waits 60 at most."""
    return Request(
        "GET",
        f"/v1/async-tasks/{_segment(task_id)}",
        _reader(GetAsyncTaskV1Response),
        query={"wait": f"{wait_seconds:g}"} if wait_seconds else {},
        timeout_seconds=30.0 + wait_seconds,
        repeatable=True,
    )


def list_tasks(
    endpoint_id: str | None, status: TaskStatus | None, limit: int, cursor: str | None
) -> Request[ListAsyncTasksResponse]:
    """A page of tasks, those submitted last first."""
    query = _page(endpoint_id, limit, cursor)
    if status is not None:
        query["status"] = status.value
    return Request("GET", "/v1/async-tasks", _reader(ListAsyncTasksResponse), query=query, repeatable=True)


def cancel_task(task_id: str) -> Request[CancelAsyncTaskResponse]:
    """Cancel a task; a repeat changes nothing."""
    path = f"/v1/async-tasks/{_segment(task_id)}/cancel"
    return Request("POST", path, _reader(CancelAsyncTaskResponse), headers=_once(), repeatable=True)


def list_dead_letters(endpoint_id: str | None, limit: int, cursor: str | None) -> Request[ListDeadLettersResponse]:
    """A page of failed tasks, those submitted last first."""
    query = _page(endpoint_id, limit, cursor)
    return Request("GET", "/v1/dead-letters", _reader(ListDeadLettersResponse), query=query, repeatable=True)


def get_dead_letter(task_id: str) -> Request[DeadLetterResponse]:
    """A failed task with its request."""
    return Request("GET", f"/v1/dead-letters/{_segment(task_id)}", _reader(DeadLetterResponse), repeatable=True)


def replay_dead_letter(task_id: str) -> Request[ReplayDeadLetterResponse]:
    """Queue a failed task again."""
    path = f"/v1/dead-letters/{_segment(task_id)}/replay"
    return Request("POST", path, _reader(ReplayDeadLetterResponse), headers=_once(), repeatable=True)


def create_callback_secret() -> Request[CreateCallbackSecretResponse]:
    """Make the secret that signs callbacks."""
    return Request(
        "POST", "/v1/callback-secret", _reader(CreateCallbackSecretResponse), headers=_once(), repeatable=True
    )


def _page(endpoint_id: str | None, limit: int, cursor: str | None) -> dict[str, str]:
    query = {"limit": str(limit)}
    if endpoint_id is not None:
        query["model_endpoint_id"] = endpoint_id
    if cursor is not None:
        query["cursor"] = cursor
    return query


def events(endpoint_id: str | None, after: str | None, *, follow: bool) -> Request[bytes]:
    """The history of everything, or of one endpoint: what follows the event with SSE id `after`.

    With `follow` the stream goes on with what happens, else it ends where the history ends.
    """
    path = "/v1/events" if endpoint_id is None else f"/v1/model-endpoints/{_segment(endpoint_id)}/events"
    headers = {"accept": "text/event-stream"}
    if after is not None:
        headers["last-event-id"] = after
    query = {} if follow else {"follow": "false"}
    return Request("GET", path, bytes, query=query, headers=headers, timeout_seconds=_SILENCE_SECONDS, repeatable=True)


def logs(endpoint_id: str, source: LogSource, *, follow: bool) -> Request[bytes]:
    """The log of an endpoint's build or of its workers as text; one that is followed may be silent for ever."""
    query = {"source": source, "follow": "true" if follow else "false"}
    path = f"/v1/model-endpoints/{_segment(endpoint_id)}/logs"
    return Request("GET", path, bytes, query=query, timeout_seconds=None if follow else 30.0, repeatable=True)


def create_api_key(key: CreateApiKeyRequest) -> Request[CreateApiKeyResponse]:
    """Make a key for an owner; for the administrator."""
    return Request(
        "POST",
        "/v1/admin/api-keys",
        _reader(CreateApiKeyResponse),
        json=_body(key),
        headers=_once(),
        repeatable=True,
    )


def rotate_api_key(key_id: str, rotation: RotateApiKeyRequest) -> Request[RotateApiKeyResponse]:
    """Make a key that takes another one's place; for the administrator."""
    return Request(
        "POST",
        f"/v1/admin/api-keys/{_segment(key_id)}/rotate",
        _reader(RotateApiKeyResponse),
        json=_body(rotation),
        headers=_once(),
        repeatable=True,
    )


def list_api_keys() -> Request[ListApiKeysResponse]:
    """All keys; for the administrator."""
    return Request("GET", "/v1/admin/api-keys", _reader(ListApiKeysResponse), repeatable=True)


def revoke_api_key(key_id: str) -> Request[RevokeApiKeyResponse]:
    """Revoke a key; for the administrator. A repeat changes nothing."""
    return Request("DELETE", f"/v1/admin/api-keys/{_segment(key_id)}", _reader(RevokeApiKeyResponse), repeatable=True)


def create_subscription(subscription: CreateEventSubscriptionRequest) -> Request[CreateEventSubscriptionResponse]:
    """Subscribe an address to events; a repeat would subscribe it twice."""
    return Request(
        "POST", "/v1/event-subscriptions", _reader(CreateEventSubscriptionResponse), json=_body(subscription)
    )


def list_subscriptions() -> Request[ListEventSubscriptionsResponse]:
    """The caller's subscriptions."""
    return Request("GET", "/v1/event-subscriptions", _reader(ListEventSubscriptionsResponse), repeatable=True)


def get_subscription(subscription_id: str) -> Request[EventSubscriptionResponse]:
    """One subscription by its id."""
    return Request("GET", _subscription(subscription_id), _reader(EventSubscriptionResponse), repeatable=True)


def delete_subscription(subscription_id: str) -> Request[DeleteEventSubscriptionResponse]:
    """Delete a subscription; a repeat is answered 404."""
    return Request("DELETE", _subscription(subscription_id), _reader(DeleteEventSubscriptionResponse), repeatable=True)


def test_subscription(subscription_id: str) -> Request[EventDelivery]:
    """Have a test event posted now."""
    return Request("POST", f"{_subscription(subscription_id)}/test", _reader(EventDelivery))


def list_deliveries(subscription_id: str, limit: int) -> Request[ListEventDeliveriesResponse]:
    """The last attempts to deliver events, newest first."""
    path = f"{_subscription(subscription_id)}/deliveries"
    return Request("GET", path, _reader(ListEventDeliveriesResponse), query={"limit": str(limit)}, repeatable=True)


def _subscription(subscription_id: str) -> str:
    return f"/v1/event-subscriptions/{_segment(subscription_id)}"
