"""An endpoint as the API shows it."""

import json

from pydantic import TypeAdapter

from model_engine_contracts.api.common import CallbackAuth, GpuType
from model_engine_contracts.api.endpoints import (
    GetModelEndpointV1Response,
    ModelEndpointDeploymentState,
    ModelEndpointResourceState,
)
from model_engine_contracts.documents import EndpointDocument
from model_engine_contracts.endpoint_states import WIRE_STATUS, EndpointType, Phase
from model_engine_contracts.failures import FailureInfo
from model_engine_gateway.domain.endpoint_changes import masked
from model_engine_gateway.domain.invalid import Invalid

UNKNOWN_DESTINATION = "UNKNOWN"
REASON_LENGTH = 500

_AUTH: TypeAdapter[CallbackAuth] = TypeAdapter(CallbackAuth)


def endpoint_view(endpoint: EndpointDocument, queued: int | None) -> GetModelEndpointV1Response:
    """The wire form. What speaks of workers is null until some were asked for; `queued` counts an async queue."""
    spec, status = endpoint.spec, endpoint.status
    built = has_workers_asked_for(endpoint)
    auth = spec.default_callback_auth_json
    return GetModelEndpointV1Response(
        id=endpoint.id,
        name=endpoint.name,
        endpoint_type=spec.endpoint_type,
        destination=destination(endpoint) if built else UNKNOWN_DESTINATION,
        deployment_name=deployment_name(endpoint.id) if built else None,
        metadata=json.loads(spec.metadata_json),
        bundle_name=spec.bundle.name,
        status=WIRE_STATUS[status.phase],
        status_reason=None if status.failure is None else status_reason(status.failure),
        post_inference_hooks=_hooks(endpoint, built),
        default_callback_url=spec.default_callback_url if built else None,
        default_callback_auth=_AUTH.validate_python(masked(json.loads(auth))) if auth and built else None,
        labels=spec.labels if built else None,
        created_by=endpoint.created_by,
        created_at=endpoint.created_at,
        last_updated_at=endpoint.last_updated_at,
        deployment_state=_deployment_state(endpoint) if built else None,
        resource_state=_resource_state(endpoint) if built else None,
        num_queued_items=queued if built and spec.endpoint_type is EndpointType.ASYNC else None,
        public_inference=spec.public_inference,
        task_expires_seconds=spec.task_expires_seconds,
        queue_message_timeout_seconds=spec.queue_message_timeout_seconds,
    )


def has_workers_asked_for(endpoint: EndpointDocument) -> bool:
    """Whether the runtime was ever asked for workers of this endpoint."""
    status = endpoint.status
    rolled = status.phase in (Phase.ROLLING_OUT, Phase.READY, Phase.RECOVERING)
    return rolled or status.serving_generation is not None or status.observed_counter >= 0


def check_restart(endpoint: EndpointDocument) -> None:
    """Workers on several nodes cannot be replaced one after the other, and there must be some. Raises Invalid."""
    if endpoint.spec.resources.nodes_per_worker > 1:
        raise Invalid(f"Restarting model endpoint {endpoint.id} is not supported", "restart_unsupported")
    if not has_workers_asked_for(endpoint):
        raise Invalid(f"Model endpoint {endpoint.id} has no workers to restart yet.", "nothing_to_restart")


def deployment_name(endpoint_id: str) -> str:
    """The name of an endpoint's workers in a cluster."""
    return f"launch-endpoint-id-{endpoint_id.replace('_', '-')}"


def destination(endpoint: EndpointDocument) -> str:
    """Where calls of the endpoint go: the name of its queue, or of its service."""
    if endpoint.spec.endpoint_type is EndpointType.ASYNC:
        return f"launch-endpoint-id-{endpoint.id}"
    return deployment_name(endpoint.id)


def status_reason(failure: FailureInfo) -> str:
    """`CODE: message (remedy)` on one line; a long message is cut, the remedy never is."""
    message, remedy = " ".join(failure.message.split()), " ".join(failure.remedy.split())
    space = REASON_LENGTH - len(f"{failure.code}:  ({remedy})")
    if len(message) > space:
        message = message[: max(0, space - 1)] + "…"
    return f"{failure.code}: {message} ({remedy})"


def _hooks(endpoint: EndpointDocument, built: bool) -> list[str] | None:
    hooks = endpoint.spec.post_inference_hooks
    if not built:
        return []
    return None if hooks is None else list(hooks)


def _deployment_state(endpoint: EndpointDocument) -> ModelEndpointDeploymentState:
    scaling, status = endpoint.spec.scaling, endpoint.status
    return ModelEndpointDeploymentState(
        min_workers=scaling.min_workers,
        max_workers=scaling.max_workers,
        per_worker=scaling.per_worker,
        concurrent_requests_per_worker=scaling.concurrent_requests_per_worker,
        forwarder_max_concurrency=scaling.forwarder_max_concurrency,
        available_workers=status.available_workers,
        unavailable_workers=status.unavailable_workers,
    )


def _resource_state(endpoint: EndpointDocument) -> ModelEndpointResourceState:
    resources = endpoint.spec.resources
    return ModelEndpointResourceState(
        cpus=resources.cpus_given,
        gpus=resources.gpus,
        memory=resources.memory_given,
        gpu_type=GpuType(resources.gpu_type) if resources.gpu_type else None,
        storage=resources.storage_given,
        nodes_per_worker=resources.nodes_per_worker,
        optimize_costs=resources.optimize_costs,
    )
