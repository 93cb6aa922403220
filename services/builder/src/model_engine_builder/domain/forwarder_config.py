"""The configuration of a worker's forwarder, for bundles that our model server serves."""

from model_engine_contracts.documents import EndpointSpec
from model_engine_contracts.endpoint_states import EndpointType
from model_engine_contracts.topology import TASKS, task_durable

DEFAULT_MAX_CONCURRENCY = 100
"""Calls at once in one worker where the endpoint says nothing."""

_ANSWERS: dict[str, object] = {
    "predict_route": "/predict",
    "healthcheck_route": "/readyz",
    # Our model server reads the whole envelope and wraps its results itself.
    "model_engine_unwrap": False,
    "serialize_results_as_string": False,
    "wrap_response": False,
}
_STREAMS: dict[str, object] = {
    "predict_route": "/stream",
    "healthcheck_route": "/readyz",
    "model_engine_unwrap": False,
    "serialize_results_as_string": False,
}


def forwarder_config(endpoint_id: str, owner: str, spec: EndpointSpec) -> dict[str, object]:
    """The keys of the forwarder's file but for what the driver knows: the worker's id and the model's port."""
    worker: dict[str, object] = {"endpoint_id": endpoint_id, "owner": owner}
    config: dict[str, object] = {
        "worker": worker,
        "sync": _ANSWERS | {"forward_http_status": True},
        "max_concurrency": max_concurrency(spec),
    }
    if spec.endpoint_type is EndpointType.STREAMING:
        config["stream"] = dict(_STREAMS)
    if spec.endpoint_type is EndpointType.ASYNC:
        config["async"] = _ANSWERS | {"forward_http_status_in_body": True}
        worker["queue"] = {
            "stream": TASKS.name,
            "durable": task_durable(endpoint_id),
            "concurrency": spec.scaling.concurrent_requests_per_worker,
        }
    return config


def max_concurrency(spec: EndpointSpec) -> int:
    """How many calls one worker takes at once; those that do not run wait in the model server."""
    return spec.scaling.forwarder_max_concurrency or DEFAULT_MAX_CONCURRENCY
