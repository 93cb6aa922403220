"""How requests become desired states: the spec of a new endpoint, and the next one merged from an update."""

import json
from typing import Any

from model_engine_contracts.api.common import CallbackAuth, CallbackBasicAuth, GpuType
from model_engine_contracts.api.endpoints import CreateModelEndpointV1Request, UpdateModelEndpointV1Request
from model_engine_contracts.documents import BundleSnapshot, EndpointSpec, Resources, Revision, Scaling
from model_engine_gateway.domain.bundle_rules import check_flavor, check_multinode
from model_engine_gateway.domain.bundles import flavor_of_snapshot
from model_engine_gateway.domain.field_rules import (
    MAX_CONCURRENCY_PER_WORKER,
    check_billing_tags,
    check_concurrency,
    check_hooks,
    check_integers,
    check_labels,
    check_metadata,
    check_name,
    check_workers,
)
from model_engine_gateway.domain.resources import check_resources, parse_bytes, parse_cpus

MASK = "********"
LLM_METADATA_KEY = "_llm"
"""Key of the metadata that the platform keeps for itself: replacing the metadata leaves it in place."""
MAX_REVISIONS = 10
MAX_REVISIONS_BYTES = 4 << 20


def check_new_endpoint(request: CreateModelEndpointV1Request) -> None:
    """What can be said of a creation without its bundle, in the API's order. Raises Invalid."""
    check_name(request.name)
    check_integers(
        gpus=request.gpus,
        nodes_per_worker=request.nodes_per_worker,
        per_worker=request.per_worker,
        task_expires_seconds=request.task_expires_seconds,
        concurrent_requests_per_worker=request.concurrent_requests_per_worker,
    )
    check_workers(request.min_workers, request.max_workers)
    check_concurrency(request.endpoint_type, _concurrency(request))
    check_labels(request.labels)
    check_billing_tags(request.billing_tags)
    check_hooks(request.post_inference_hooks)


def new_spec(request: CreateModelEndpointV1Request, bundle: BundleSnapshot) -> EndpointSpec:
    """The first desired state; `check_new_endpoint` comes before. Raises Invalid."""
    flavor = flavor_of_snapshot(bundle)
    check_multinode(
        flavor,
        bundle.name,
        endpoint_type=request.endpoint_type,
        nodes_per_worker=request.nodes_per_worker,
        gpus=request.gpus,
        min_workers=request.min_workers,
        max_workers=request.max_workers,
    )
    check_flavor(flavor, endpoint_type=request.endpoint_type, per_worker=request.per_worker)
    check_metadata(request.metadata)
    check_resources(
        flavor,
        cpus=request.cpus,
        memory=request.memory,
        storage=request.storage,
        gpus=request.gpus,
        gpu_type=request.gpu_type,
    )
    return EndpointSpec(
        endpoint_type=request.endpoint_type,
        bundle=bundle,
        resources=Resources(
            cpus=float(parse_cpus(request.cpus)),
            memory_bytes=parse_bytes(request.memory),
            storage_bytes=parse_bytes(request.storage),
            cpus_given=request.cpus,
            memory_given=request.memory,
            storage_given=request.storage,
            gpus=request.gpus,
            gpu_type=request.gpu_type,
            nodes_per_worker=request.nodes_per_worker,
            optimize_costs=bool(request.optimize_costs),
        ),
        scaling=Scaling(
            min_workers=request.min_workers,
            max_workers=request.max_workers,
            per_worker=request.per_worker,
            concurrent_requests_per_worker=_concurrency(request),
            forwarder_max_concurrency=request.forwarder_max_concurrency,
        ),
        labels=request.labels,
        metadata_json=json.dumps(request.metadata),
        billing_tags_json=_text_or_none(request.billing_tags),
        post_inference_hooks=_tuple_or_none(request.post_inference_hooks),
        default_callback_url=request.default_callback_url,
        default_callback_auth_json=_auth_text(request.default_callback_auth),
        public_inference=bool(request.public_inference),
        prewarm=True if request.prewarm is None else request.prewarm,
        high_priority=bool(request.high_priority),
        queue_message_timeout_seconds=request.queue_message_timeout_seconds,
        task_expires_seconds=request.task_expires_seconds,
    )


def check_update(request: UpdateModelEndpointV1Request) -> None:
    """What can be said of an update without its endpoint, in the API's order. Raises Invalid."""
    if request.labels is not None:
        check_labels(request.labels)
    check_billing_tags(request.billing_tags)
    check_hooks(request.post_inference_hooks)


def updated_spec(
    current: EndpointSpec, request: UpdateModelEndpointV1Request, bundle: BundleSnapshot | None
) -> EndpointSpec:
    """The next desired state: what the request leaves out or gives as null stays. Raises Invalid.

    An explicit null of a resource still takes part in the check of the resources, as null.
    """
    bundle = bundle or current.bundle
    flavor = flavor_of_snapshot(bundle)
    _check_updated_resources(current, request, flavor)
    given = request.model_dump(exclude_none=True)
    old = current.resources
    cpus, memory = given.get("cpus", old.cpus_given), given.get("memory", old.memory_given)
    storage = given.get("storage", old.storage_given)
    resources = old.model_copy(
        update={
            "cpus": float(parse_cpus(cpus)),
            "memory_bytes": parse_bytes(memory),
            "storage_bytes": None if storage is None else parse_bytes(storage),
            "cpus_given": cpus,
            "memory_given": memory,
            "storage_given": storage,
            **_pick(given, "gpus", "gpu_type", "optimize_costs"),
        }
    )
    if not resources.gpus:
        resources = resources.model_copy(update={"gpu_type": None})
    scaling = current.scaling.model_copy(
        update=_pick(
            given,
            "min_workers",
            "max_workers",
            "per_worker",
            "concurrent_requests_per_worker",
            "forwarder_max_concurrency",
        )
    )
    check_integers(
        gpus=resources.gpus,
        per_worker=scaling.per_worker,
        concurrent_requests_per_worker=scaling.concurrent_requests_per_worker,
        task_expires_seconds=request.task_expires_seconds,
    )
    check_workers(scaling.min_workers, scaling.max_workers)
    check_concurrency(current.endpoint_type, scaling.concurrent_requests_per_worker)
    check_multinode(
        flavor,
        bundle.name,
        endpoint_type=current.endpoint_type,
        nodes_per_worker=resources.nodes_per_worker,
        gpus=resources.gpus,
        min_workers=scaling.min_workers,
        max_workers=scaling.max_workers,
    )
    check_flavor(flavor, endpoint_type=current.endpoint_type, per_worker=scaling.per_worker)
    check_metadata(request.metadata)
    changes: dict[str, Any] = {
        "bundle": bundle,
        "resources": resources,
        "scaling": scaling,
        "labels": {**current.labels, **(request.labels or {})},
        **_pick(
            given,
            "default_callback_url",
            "public_inference",
            "prewarm",
            "high_priority",
            "queue_message_timeout_seconds",
            "task_expires_seconds",
        ),
    }
    if request.metadata is not None:
        kept = {key: value for key, value in json.loads(current.metadata_json).items() if key == LLM_METADATA_KEY}
        changes["metadata_json"] = json.dumps({**request.metadata, **kept})
    if request.billing_tags is not None:
        changes["billing_tags_json"] = json.dumps(request.billing_tags)
    if request.post_inference_hooks is not None:
        changes["post_inference_hooks"] = tuple(request.post_inference_hooks)
    if request.default_callback_auth is not None and not _is_masked_copy(current, request.default_callback_auth):
        changes["default_callback_auth_json"] = _auth_text(request.default_callback_auth)
    return current.model_copy(update=changes)


def changed_fields(old: EndpointSpec, new: EndpointSpec) -> tuple[str, ...]:
    """The names of the API's fields that differ between two specs, sorted."""
    before, after = _fields(old), _fields(new)
    return tuple(sorted(name for name in after if before[name] != after[name]))


def settings_of(spec: EndpointSpec) -> dict[str, Any]:
    """A desired state by the names of the API's fields; the secret part of credentials is hidden."""
    settings = {name: value for name, value in _fields(spec).items() if name != "restart_nonce"}
    for name in ("metadata", "billing_tags", "default_callback_auth"):
        text = settings[name]
        settings[name] = None if text is None else json.loads(text)
    if settings["default_callback_auth"] is not None:
        settings["default_callback_auth"] = masked(settings["default_callback_auth"])
    return settings


def masked(auth: dict[str, Any]) -> dict[str, Any]:
    """Callback credentials as they are shown: whole in shape, the secret part hidden."""
    return {name: MASK if name in ("password", "key") else value for name, value in auth.items()}


def bounded_revisions(
    revisions: tuple[Revision, ...], newest: Revision, serving_generation: int | None
) -> tuple[Revision, ...]:
    """The history with `newest` added, bounded in number and bytes; the one that serves is never dropped."""
    kept, size = [newest], len(newest.model_dump_json())
    for revision in reversed(revisions):
        size += len(revision.model_dump_json())
        fits = len(kept) < MAX_REVISIONS and size <= MAX_REVISIONS_BYTES
        if fits or revision.generation == serving_generation:
            kept.append(revision)
    return tuple(reversed(kept))


def _check_updated_resources(current: EndpointSpec, request: UpdateModelEndpointV1Request, flavor: Any) -> None:
    old = current.resources
    present = {
        "cpus": old.cpus_given,
        "memory": old.memory_given,
        "storage": old.storage_given,
        "gpus": old.gpus,
        "gpu_type": GpuType(old.gpu_type) if old.gpu_type else None,
    }
    sent = {name: getattr(request, name) for name in present if name in request.model_fields_set}
    check_resources(flavor, **{**present, **sent})


def _fields(spec: EndpointSpec) -> dict[str, Any]:
    resources = spec.resources.model_dump(exclude={"cpus", "memory_bytes", "storage_bytes"})
    return {
        **{name.removesuffix("_given"): value for name, value in resources.items()},
        **spec.scaling.model_dump(),
        "model_bundle_id": spec.bundle.id,
        **{
            name.removesuffix("_json"): value
            for name, value in spec.model_dump(exclude={"resources", "scaling", "bundle"}).items()
        },
    }


def _concurrency(request: CreateModelEndpointV1Request) -> int:
    return request.concurrent_requests_per_worker or min(request.per_worker, MAX_CONCURRENCY_PER_WORKER)


def _is_masked_copy(current: EndpointSpec, auth: CallbackAuth) -> bool:
    """Whether a client sent back what a read showed it; the secret must not become the mask."""
    if (auth.password if isinstance(auth, CallbackBasicAuth) else auth.key) != MASK:
        return False
    stored = json.loads(current.default_callback_auth_json or "{}")
    return masked(stored) == auth.model_dump()


def _pick(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _text_or_none(value: dict[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value)


def _tuple_or_none(value: list[str] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(value)


def _auth_text(auth: CallbackAuth | None) -> str | None:
    return None if auth is None else json.dumps(auth.model_dump())
