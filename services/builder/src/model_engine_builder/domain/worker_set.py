"""From an endpoint's spec to what the runtime is asked for: an environment and a set of workers."""

import json
from dataclasses import dataclass, replace
from typing import Any

from model_engine_builder.domain.forwarder_config import forwarder_config, max_concurrency
from model_engine_contracts.artifact_location import SCHEMES, UPLOADED, scheme_of
from model_engine_contracts.documents import EndpointDocument, EndpointSpec
from model_engine_contracts.failures import FailureInfo, Reason, failure_info
from model_engine_runtime.keys import template_revision
from model_engine_runtime.protocol import Environment, WorkerSet

BUNDLE_KINDS = {"cloudpickle_artifact": "cloudpickle", "zip_artifact": "zip"}
"""The flavors that run without an image, and what the model server calls them."""

COMMAND = ("{python}", "-m", "model_engine_model_server")
READY_PATH = "/readyz"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, in seconds.

    `build` and `start` are the deadlines that the runtime keeps; `queue` is how long a build may wait for its turn
    besides, `margin` how long workers may take to appear. After `runtime_grace` without the runtime a rollout fails.
    Within `settle` after a step the view of the runtime may be older than the step. After `report` a fact that the
    endpoint's status does not show is published again. A deletion is asked for again after `repeat_deletion`.
    """

    build: float = 1500.0
    start: float = 600.0
    drain: float = 30.0
    queue: float = 1500.0
    margin: float = 60.0
    runtime_grace: float = 30.0
    settle: float = 5.0
    report: float = 10.0
    repeat_deletion: float = 30.0


def refusal_of(spec: EndpointSpec) -> FailureInfo | None:
    """Why this spec can never run here, as far as the spec alone tells; None when it may."""
    bundle = spec.bundle
    if bundle.flavor not in BUNDLE_KINDS:
        return failure_info(
            Reason.FLAVOR_UNSUPPORTED, f"bundle {bundle.name!r} has the flavor {bundle.flavor}, which needs images"
        )
    framework = _flavor(spec).get("framework") or {}
    if framework.get("framework_type") == "custom_base_image":
        return failure_info(
            Reason.FLAVOR_UNSUPPORTED, f"bundle {bundle.name!r} has a base image of its own, which needs images"
        )
    if bundle.artifact_id is None and scheme_of(bundle.location or "") not in SCHEMES - {UPLOADED}:
        return failure_info(
            Reason.ARTIFACT_MISSING,
            f"the location {bundle.location!r} of bundle {bundle.name!r} is none of {', '.join(sorted(SCHEMES))}",
        )
    return None


def environment_of(spec: EndpointSpec, limits: Limits) -> Environment:
    """The environment that the workers need; its artifact's address is added when it is asked for."""
    bundle = spec.bundle
    return Environment(
        python=bundle.python,
        requirements=bundle.requirements,
        artifact_sha256=bundle.artifact_sha256,
        artifact_location=bundle.location if bundle.artifact_sha256 is None else None,
        deadline_s=limits.build,
    )


def worker_set_of(
    document: EndpointDocument, spec: EndpointSpec, environment_key: str, installation: str, limits: Limits
) -> WorkerSet:
    """The workers of `spec` (which may be an older one) under the document's present generation.

    How many there are is the autoscaler's affair, but for the first time. The revision is the hash of what changes
    something in a running worker, so equal revisions mean that no worker is touched.
    """
    resources = spec.resources
    want = WorkerSet(
        installation=installation,
        endpoint_id=document.id,
        generation=document.generation,
        revision="",
        environment_key=environment_key,
        command=COMMAND,
        env=_env(spec),
        cpus=resources.cpus,
        memory_bytes=resources.memory_bytes,
        storage_bytes=resources.storage_bytes,
        gpus=resources.gpus,
        gpu_type=resources.gpu_type,
        nodes_per_worker=resources.nodes_per_worker,
        forwarder_config=forwarder_config(document.id, document.owner, spec),
        ready_path=READY_PATH,
        start_deadline_s=limits.start,
        drain_s=limits.drain,
        initial_replicas=max(1, spec.scaling.min_workers),
    )
    return with_environment(want, environment_key, spec.restart_nonce)


def with_environment(workers: WorkerSet, environment_key: str, nonce: int) -> WorkerSet:
    """The same workers in another environment, with the revision that goes with it."""
    want = replace(workers, environment_key=environment_key)
    return replace(want, revision=template_revision(want, nonce))


def _env(spec: EndpointSpec) -> dict[str, str]:
    bundle = spec.bundle
    env = {
        "PORT": "{port}",
        "ME_BUNDLE_KIND": BUNDLE_KINDS[bundle.flavor],
        "ME_ARTIFACT_PATH": "{artifact}",
        "ME_MODEL_CONCURRENCY": str(spec.scaling.concurrent_requests_per_worker),
        # The forwarder alone refuses what is too much.
        "ME_MODEL_QUEUE_SIZE": str(max_concurrency(spec)),
    }
    if env["ME_BUNDLE_KIND"] == "zip":
        flavor = _flavor(spec)
        env["ME_LOAD_PREDICT_FN_MODULE_PATH"] = flavor["load_predict_fn_module_path"]
        env["ME_LOAD_MODEL_FN_MODULE_PATH"] = flavor["load_model_fn_module_path"]
    if spec.public_inference:
        # Anybody may call it; a pickle would run their code.
        env["ME_REFUSE_PICKLED_INPUT"] = "1"
    if bundle.app_config_json is not None:
        env["USER_CONFIG"] = bundle.app_config_json
    return env


def _flavor(spec: EndpointSpec) -> dict[str, Any]:
    flavor: dict[str, Any] = json.loads(spec.bundle.flavor_json)
    return flavor
