"""The endpoint as MongoDB holds it. The gateway writes these documents; builder and autoscaler read them.

Free JSON of users (metadata, args, app_config, billing tags) is stored as JSON text, because BSON refuses integers
beyond 64 bits, keys with NUL and lone surrogates.
"""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from model_engine_contracts.endpoint_states import EndpointType, Phase
from model_engine_contracts.failures import FailureInfo

ENDPOINTS = "endpoints"
"""Name of the collection."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class BundleSnapshot(_Part):
    """What the builder needs of a bundle. Bundles never change, so a copy stays true.

    `flavor_json` is the flavor as JSON text; for artifact flavors `requirements`, `location`, `artifact_sha256` (fixed
    at upload) and `python` (the uploader's version, such as `3.11`) stand beside it.
    """

    id: str
    name: str
    flavor: str
    flavor_json: str
    requirements: tuple[str, ...] = ()
    location: str | None = None
    artifact_id: str | None = None
    artifact_sha256: str | None = None
    python: str | None = None
    app_config_json: str | None = None


class Resources(_Part):
    """What one worker gets. Quantities keep the caller's form in `*_given`; numbers are cores and bytes."""

    cpus: float = Field(gt=0)
    memory_bytes: int = Field(gt=0)
    storage_bytes: int | None = None
    cpus_given: str | int | float
    memory_given: str | int | float
    storage_given: str | int | float | None = None
    gpus: int = 0
    gpu_type: str | None = None
    nodes_per_worker: int = 1
    optimize_costs: bool = False


class Scaling(_Part):
    """How many workers, and for how much load each. Changing these restarts no worker.

    `per_worker` is the target of queued or concurrent work per worker, `concurrent_requests_per_worker` what one
    worker really runs at once, `forwarder_max_concurrency` the cap of the forwarder (null: its default).
    """

    min_workers: int = Field(ge=0)
    max_workers: int = Field(ge=0)
    per_worker: int = Field(gt=0)
    concurrent_requests_per_worker: int = Field(gt=0)
    forwarder_max_concurrency: int | None = None


class EndpointSpec(_Part):
    """The desired state of one generation."""

    endpoint_type: EndpointType
    bundle: BundleSnapshot
    resources: Resources
    scaling: Scaling
    labels: dict[str, str] = {}
    metadata_json: str = "{}"
    billing_tags_json: str | None = None
    post_inference_hooks: tuple[str, ...] | None = None
    default_callback_url: str | None = None
    default_callback_auth_json: str | None = None
    public_inference: bool = False
    prewarm: bool = True
    high_priority: bool = False
    queue_message_timeout_seconds: int | None = None
    task_expires_seconds: int | None = None
    restart_nonce: int = 0


class EndpointStatus(_Part):
    """What is known of an endpoint. Written by gateways from the facts of builder, cache and autoscaler.

    `observed_epoch` and `observed_counter` fence the observations: an older one never overwrites a newer.
    `serving_generation` is the last generation that a worker answered for; null before the first.
    """

    phase: Phase = Phase.PENDING
    failure: FailureInfo | None = None
    observed_generation: int = 0
    serving_generation: int | None = None
    desired_workers: int = 0
    available_workers: int = 0
    unavailable_workers: int = 0
    observed_epoch: int = -1
    observed_counter: int = -1
    since: datetime


class Revision(_Part):
    """One past or present generation, kept in a bounded history."""

    generation: int
    spec: EndpointSpec
    created_at: datetime
    created_by: str


class EndpointDocument(_Part):
    """One endpoint. `version` rises with every write of its owner and guards each compare-and-set; `generation` rises
    with every change of the desired state. `tombstone` is set when nothing is left of it but events to publish.
    """

    id: str = Field(alias="_id")
    name: str
    owner: str
    created_by: str
    created_at: datetime
    last_updated_at: datetime
    version: int
    generation: int = Field(ge=1)
    spec: EndpointSpec
    deletion_requested: bool = False
    status: EndpointStatus
    revisions: tuple[Revision, ...] = ()
    outbox: tuple[dict[str, Any], ...] = ()
    tombstone: bool = False

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)
