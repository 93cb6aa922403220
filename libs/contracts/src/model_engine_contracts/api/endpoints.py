"""Model endpoints on the wire."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from model_engine_contracts.api.common import CallbackAuth, GpuType, HttpUrlText, JsonObject, Quantity
from model_engine_contracts.endpoint_states import EndpointType as ModelEndpointType
from model_engine_contracts.endpoint_states import WireStatus as ModelEndpointStatus

__all__ = ["ModelEndpointStatus", "ModelEndpointType"]


class ModelEndpointOrderBy(StrEnum):
    """Order of endpoint lists."""

    NEWEST = "newest"
    OLDEST = "oldest"
    ALPHABETICAL = "alphabetical"


class CreateModelEndpointV1Request(BaseModel):
    """A new endpoint. Quantities of one worker; CPU in cores, memory and storage in bytes or with a suffix."""

    model_config = ConfigDict(protected_namespaces=())

    name: str = Field(max_length=63)
    model_bundle_id: str
    endpoint_type: ModelEndpointType
    metadata: JsonObject
    post_inference_hooks: list[str] | None = None
    cpus: Quantity
    gpus: int = Field(ge=0)
    memory: Quantity
    gpu_type: GpuType | None = None
    storage: Quantity
    nodes_per_worker: int = Field(default=1, gt=0)
    optimize_costs: bool | None = None
    min_workers: int = Field(ge=0)
    max_workers: int = Field(ge=0)
    per_worker: int = Field(gt=0)
    concurrent_requests_per_worker: int | None = Field(default=None, gt=0)
    forwarder_max_concurrency: int | None = Field(default=None, ge=1, le=20)
    labels: dict[str, str]
    prewarm: bool | None = True
    high_priority: bool | None = False
    billing_tags: JsonObject | None = None
    default_callback_url: HttpUrlText | None = None
    default_callback_auth: CallbackAuth | None = None
    public_inference: bool | None = False
    queue_message_timeout_seconds: int | None = Field(default=None, ge=1, le=43_200)
    task_expires_seconds: int | None = Field(default=None, ge=1)


class CreateModelEndpointV1Response(BaseModel):
    """The change is recorded; follow it by the endpoint's status."""

    endpoint_creation_task_id: str


class UpdateModelEndpointV1Request(BaseModel):
    """A change of an endpoint: what is missing or null stays as it is."""

    model_config = ConfigDict(protected_namespaces=())

    model_bundle_id: str | None = None
    metadata: JsonObject | None = None
    post_inference_hooks: list[str] | None = None
    cpus: Quantity | None = None
    gpus: int | None = Field(default=None, ge=0)
    memory: Quantity | None = None
    gpu_type: GpuType | None = None
    storage: Quantity | None = None
    optimize_costs: bool | None = None
    min_workers: int | None = Field(default=None, ge=0)
    max_workers: int | None = Field(default=None, ge=0)
    per_worker: int | None = Field(default=None, gt=0)
    concurrent_requests_per_worker: int | None = Field(default=None, gt=0)
    forwarder_max_concurrency: int | None = Field(default=None, ge=1, le=20)
    labels: dict[str, str] | None = None
    prewarm: bool | None = None
    high_priority: bool | None = None
    billing_tags: JsonObject | None = None
    default_callback_url: HttpUrlText | None = None
    default_callback_auth: CallbackAuth | None = None
    public_inference: bool | None = None
    queue_message_timeout_seconds: int | None = Field(default=None, ge=1, le=43_200)
    task_expires_seconds: int | None = Field(default=None, ge=1)


class UpdateModelEndpointV1Response(BaseModel):
    """The change is recorded; follow it by the endpoint's status."""

    endpoint_creation_task_id: str


class DeleteModelEndpointV1Response(BaseModel):
    """The endpoint is gone."""

    deleted: bool


class RestartModelEndpointV1Response(BaseModel):
    """The workers are being replaced one after the other."""

    restarted: bool


class ModelEndpointRevision(BaseModel):
    """One generation of an endpoint. `changed` names what it changed, `settings` holds what it asks for.

    `current`: it is the desired state. `serving`: workers of it were the last to become ready.
    """

    model_config = ConfigDict(protected_namespaces=())

    generation: int
    created_at: datetime
    created_by: str
    model_bundle_id: str
    bundle_name: str
    current: bool
    serving: bool
    changed: list[str]
    settings: JsonObject


class ListModelEndpointRevisionsV1Response(BaseModel):
    """The last generations of an endpoint, newest first."""

    model_config = ConfigDict(protected_namespaces=())

    revisions: list[ModelEndpointRevision]


class RollbackModelEndpointV1Request(BaseModel):
    """The generation to go back to; null: the last one that asked for something else than the current one."""

    generation: int | None = Field(default=None, ge=1)


class RollbackModelEndpointV1Response(BaseModel):
    """The change is recorded as a new `generation`; follow it by the endpoint's status."""

    endpoint_creation_task_id: str
    generation: int
    rolled_back_to: int


class ModelEndpointDeploymentState(BaseModel):
    """How many workers are wanted and there."""

    min_workers: int
    max_workers: int
    per_worker: int
    concurrent_requests_per_worker: int
    forwarder_max_concurrency: int | None = None
    available_workers: int | None = None
    unavailable_workers: int | None = None


class ModelEndpointResourceState(BaseModel):
    """What one worker gets, in the form that the caller used."""

    cpus: Quantity
    gpus: int
    memory: Quantity
    gpu_type: GpuType | None = None
    storage: Quantity | None = None
    nodes_per_worker: int
    optimize_costs: bool | None = None


class GetModelEndpointV1Response(BaseModel):
    """One endpoint; every key is always present."""

    id: str
    name: str
    endpoint_type: ModelEndpointType
    destination: str
    deployment_name: str | None = None
    metadata: JsonObject | None = None
    bundle_name: str
    status: ModelEndpointStatus
    status_reason: str | None = None
    post_inference_hooks: list[str] | None = None
    default_callback_url: str | None = None
    default_callback_auth: CallbackAuth | None = None
    labels: dict[str, str] | None = None
    aws_role: str | None = None
    results_s3_bucket: str | None = None
    created_by: str
    created_at: datetime
    last_updated_at: datetime
    deployment_state: ModelEndpointDeploymentState | None = None
    resource_state: ModelEndpointResourceState | None = None
    num_queued_items: int | None = None
    public_inference: bool | None = None
    task_expires_seconds: int | None = None
    queue_message_timeout_seconds: int | None = None


class ListModelEndpointsV1Response(BaseModel):
    """The caller's endpoints."""

    model_config = ConfigDict(protected_namespaces=())

    model_endpoints: list[GetModelEndpointV1Response]
