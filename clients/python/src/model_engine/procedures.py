"""What takes more than one request, written once for the blocking and the async client.

A procedure is a generator: it yields a Request and is sent its answer (or thrown its error), or yields a Pause.
"""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from model_engine.bundling import python_version
from model_engine.deployment import Deployment
from model_engine.errors import (
    EndpointFailedError,
    InvalidAnswerError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
    WaitTimeoutError,
)
from model_engine.operations import (
    Request,
    create_bundle,
    create_endpoint,
    delete_endpoint,
    get_endpoint,
    get_task,
    list_endpoints,
    update_endpoint,
    upload_artifact,
)
from model_engine_contracts.api.artifacts import CreateArtifactResponse
from model_engine_contracts.api.bundles import CreateModelBundleV2Response
from model_engine_contracts.api.endpoints import (
    GetModelEndpointV1Response,
    ListModelEndpointsV1Response,
    ModelEndpointStatus,
)
from model_engine_contracts.api.tasks import GetAsyncTaskV1Response, TaskStatus

T = TypeVar("T")

OnProgress = Callable[[GetModelEndpointV1Response], None]

_FIRST_POLL_SECONDS = 0.02
_LONGEST_POLL_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Pause:
    """A wait of so many seconds."""

    seconds: float


Procedure = Generator[Request[Any] | Pause, Any, T]


def _poll_pauses() -> Iterator[Pause]:
    """Pauses between looks at something that may take milliseconds or minutes."""
    seconds = _FIRST_POLL_SECONDS
    while True:
        yield Pause(seconds)
        seconds = min(seconds * 2, _LONGEST_POLL_SECONDS)


def find_endpoint(name_or_id: str) -> Procedure[GetModelEndpointV1Response]:
    """The endpoint of that name, else of that id; raises NotFoundError."""
    found: ListModelEndpointsV1Response = yield list_endpoints(name_or_id)
    if found.model_endpoints:
        return found.model_endpoints[0]
    endpoint: GetModelEndpointV1Response = yield get_endpoint(name_or_id)
    return endpoint


def deploy(deployment: Deployment) -> Procedure[GetModelEndpointV1Response]:
    """Upload a bundle and make the endpoint run it: a new endpoint, or a change of the one with that name."""
    name, settings = deployment.name, deployment.settings
    found: ListModelEndpointsV1Response = yield list_endpoints(name)
    _refuse_change_of_type(found, deployment)
    artifact: CreateArtifactResponse = yield upload_artifact(deployment.artifact, python_version())
    bundle: CreateModelBundleV2Response = yield create_bundle(deployment.bundle_request(artifact.location))
    if not found.model_endpoints:
        try:
            yield create_endpoint(settings.creation(name, bundle.model_bundle_id))
        except InvalidRequestError:
            # It is there after all: made meanwhile, or by an earlier attempt whose answer was lost.
            found = yield list_endpoints(name)
            if not found.model_endpoints:
                raise
            _refuse_change_of_type(found, deployment)
    if found.model_endpoints:
        yield update_endpoint(found.model_endpoints[0].id, settings.change(bundle.model_bundle_id))
    changed: ListModelEndpointsV1Response = yield list_endpoints(name)
    if not changed.model_endpoints:
        raise InvalidAnswerError(f"The endpoint {name} was accepted, but is not in the list of endpoints.")
    return changed.model_endpoints[0]


def wait_until_ready(
    endpoint_id: str, timeout_seconds: float, on_progress: OnProgress
) -> Procedure[GetModelEndpointV1Response]:
    """Wait for READY; `on_progress` sees the endpoint at each change. Raises EndpointFailedError, WaitTimeoutError."""
    deadline = time.monotonic() + timeout_seconds
    seen: tuple[Any, ...] | None = None
    pauses = _poll_pauses()
    while True:
        endpoint: GetModelEndpointV1Response = yield get_endpoint(endpoint_id)
        state = (endpoint.status, endpoint.status_reason, endpoint.deployment_state)
        if state != seen:
            seen = state
            on_progress(endpoint)
        if endpoint.status is ModelEndpointStatus.READY:
            return endpoint
        reason = endpoint.status_reason or "no reason was given"
        if endpoint.status is ModelEndpointStatus.UPDATE_FAILED:
            raise EndpointFailedError(f"{endpoint.name} failed: {reason}")
        if time.monotonic() > deadline:
            raise WaitTimeoutError(
                f"{endpoint.name} is still {endpoint.status.value} after {timeout_seconds:g} s: {reason}"
            )
        yield next(pauses)


def delete_and_wait(endpoint_id: str, timeout_seconds: float) -> Procedure[None]:
    """Delete an endpoint and wait until nothing of it is left; raises NotFoundError, WaitTimeoutError."""
    deadline = time.monotonic() + timeout_seconds
    # Asked first: a deletion may be sent twice, so that it is not found says only that it is gone.
    yield get_endpoint(endpoint_id)
    try:
        yield delete_endpoint(endpoint_id)
        for pause in _poll_pauses():
            if time.monotonic() > deadline:
                break
            yield get_endpoint(endpoint_id)
            yield pause
    except NotFoundError:
        return
    raise WaitTimeoutError(f"{endpoint_id} is still being deleted after {timeout_seconds:g} s.")


def wait_for_task(task_id: str, timeout_seconds: float) -> Procedure[GetAsyncTaskV1Response]:
    """Wait until a task has ended, one way or another; raises WaitTimeoutError."""
    deadline = time.monotonic() + timeout_seconds
    pauses = _poll_pauses()
    while True:
        left = max(0.0, deadline - time.monotonic())
        task: GetAsyncTaskV1Response = yield get_task(task_id, min(left, _LONGEST_WAIT_SECONDS))
        if task.status not in (TaskStatus.PENDING, TaskStatus.STARTED):
            return task
        if time.monotonic() > deadline:
            raise WaitTimeoutError(f"Task {task_id} is still {task.status.value} after {timeout_seconds:g} s.")
        yield next(pauses)


def _refuse_change_of_type(found: ListModelEndpointsV1Response, deployment: Deployment) -> None:
    wanted = deployment.settings.endpoint_type
    for endpoint in found.model_endpoints:
        if wanted is not None and endpoint.endpoint_type != wanted:
            raise RefusedError(
                f"{endpoint.name} is a {endpoint.endpoint_type.value} endpoint and cannot become a {wanted} one: "
                "delete it first, or deploy under another name."
            )
