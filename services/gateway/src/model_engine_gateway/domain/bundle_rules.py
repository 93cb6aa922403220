"""Which bundle may serve which endpoint."""

from model_engine_contracts.api.bundles import (
    CloudpickleArtifactFlavor,
    ModelBundleFlavor,
    RunnableImageFlavor,
    StreamingEnhancedRunnableImageFlavor,
    TritonEnhancedRunnableImageFlavor,
    ZipArtifactFlavor,
)
from model_engine_contracts.endpoint_states import EndpointType
from model_engine_gateway.domain.invalid import Invalid

RESERVED_ENV = frozenset(
    {
        "DD_TRACE_ENABLED",
        "DD_AGENT_HOST",
        "DD_ENV",
        "DD_SERVICE",
        "DD_VERSION",
        "OMP_THREAD_LIMIT",
        "AWS_PROFILE",
        "CELERY_ELASTICACHE_ENABLED",
        "CELERY_QUEUE",
        "CELERY_TASK_VISIBILITY",
        "S3_BUCKET",
        "TEMPORAL_TASK_QUEUE",
        "HTTP_PORT",
    }
)
"""Names that the platform sets itself in a worker."""

_Image = RunnableImageFlavor | StreamingEnhancedRunnableImageFlavor | TritonEnhancedRunnableImageFlavor
_Artifact = CloudpickleArtifactFlavor | ZipArtifactFlavor


def check_multinode(
    flavor: ModelBundleFlavor,
    bundle_name: str,
    *,
    endpoint_type: EndpointType,
    nodes_per_worker: int,
    gpus: int | None,
    min_workers: int,
    max_workers: int,
) -> None:
    """A worker on several nodes needs a bundle made for it, streaming, GPUs, and a fixed number of workers."""
    if nodes_per_worker <= 1:
        return
    made_for_it = (
        isinstance(flavor, RunnableImageFlavor | StreamingEnhancedRunnableImageFlavor)
        and flavor.worker_command
        and flavor.worker_env
    )
    if not made_for_it:
        raise _incompatible(
            f"Bundle {bundle_name} is not multinode compatible. "
            "It must be a RunnableImage and have worker_command and worker_args set."
        )
    if endpoint_type is not EndpointType.STREAMING or not gpus:
        raise _incompatible(
            "Endpoint is not multinode compatible. Only streaming GPU endpoints can be multinode compatible."
        )
    if min_workers != max_workers:
        raise _incompatible(
            "Endpoint is not multinode compatible. "
            f"min_workers={min_workers} and max_workers={max_workers} must be equal."
        )


def check_flavor(flavor: ModelBundleFlavor, *, endpoint_type: EndpointType, per_worker: int) -> None:
    """Streams need a bundle that can stream (artifacts can), everything else a command; no reserved variables."""
    if endpoint_type is EndpointType.STREAMING:
        if not isinstance(flavor, StreamingEnhancedRunnableImageFlavor | _Artifact):
            raise _incompatible("Cannot create a streaming endpoint for a non-streaming model bundle.")
        if per_worker != 1:
            raise _incompatible("Cannot create a streaming endpoint with per_worker != 1.")
    elif isinstance(flavor, StreamingEnhancedRunnableImageFlavor) and not flavor.command:
        raise _incompatible("Cannot create a non-streaming endpoint with no bundle command.")
    if isinstance(flavor, _Image) and (reserved := sorted(RESERVED_ENV & (flavor.env or {}).keys())):
        raise _incompatible(f"The bundle sets environment variables that the platform reserves: {', '.join(reserved)}.")


def _incompatible(text: str) -> Invalid:
    return Invalid(text, "incompatible_bundle")
