"""Model bundles on the wire, versions 1 and 2."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from model_engine_contracts.api.common import JsonObject, Quantity


class ModelBundlePackagingType(StrEnum):
    """How a version 1 bundle is packed."""

    CLOUDPICKLE = "cloudpickle"
    ZIP = "zip"
    LIRA = "lira"


class ModelBundleFrameworkType(StrEnum):
    """The framework that a bundle names."""

    PYTORCH = "pytorch"
    TENSORFLOW = "tensorflow"
    CUSTOM = "custom_base_image"


class ModelBundleOrderBy(StrEnum):
    """Order of bundle lists, by creation time."""

    NEWEST = "newest"
    OLDEST = "oldest"


class PytorchFramework(BaseModel):
    """A PyTorch base image by its tag."""

    framework_type: Literal["pytorch"]
    pytorch_image_tag: str


class TensorflowFramework(BaseModel):
    """TensorFlow by its version."""

    framework_type: Literal["tensorflow"]
    tensorflow_version: str


class CustomFramework(BaseModel):
    """A base image of the user's own."""

    framework_type: Literal["custom_base_image"]
    image_repository: str
    image_tag: str


Framework = Annotated[PytorchFramework | TensorflowFramework | CustomFramework, Field(discriminator="framework_type")]


class _ArtifactLike(BaseModel):
    requirements: list[str]
    framework: Framework
    app_config: JsonObject | None = None
    location: str


class CloudpickleArtifactFlavor(_ArtifactLike):
    """A pickled bundle: a dictionary with `load_predict_fn` and `load_model_fn` or `model`, or a callable."""

    flavor: Literal["cloudpickle_artifact"]
    load_predict_fn: str
    load_model_fn: str


class ZipArtifactFlavor(_ArtifactLike):
    """Zipped code and the dotted names of its two functions."""

    flavor: Literal["zip_artifact"]
    load_predict_fn_module_path: str
    load_model_fn_module_path: str


class _RunnableImageLike(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    repository: str
    tag: str
    command: list[str]
    predict_route: str = "/predict"
    healthcheck_route: str = "/readyz"
    env: dict[str, str] | None = None
    protocol: Literal["http"]
    readiness_initial_delay_seconds: int = 120
    extra_routes: list[str] = Field(default_factory=list)
    routes: list[str] = Field(default_factory=list)
    forwarder_type: str | None = "default"
    worker_command: list[str] | None = None
    worker_env: dict[str, str] | None = None

    @field_validator("forwarder_type")
    @classmethod
    def _null_is_default(cls, value: str | None) -> str:
        return value or "default"


class RunnableImageFlavor(_RunnableImageLike):
    """A container image whose command serves HTTP on port 5005."""

    flavor: Literal["runnable_image"]


class StreamingEnhancedRunnableImageFlavor(_RunnableImageLike):
    """A container image with a second command that serves streams."""

    flavor: Literal["streaming_enhanced_runnable_image"]
    command: list[str] = Field(default_factory=list)
    streaming_command: list[str]
    streaming_predict_route: str = "/stream"


class TritonEnhancedRunnableImageFlavor(_RunnableImageLike):
    """A container image beside a Triton inference server."""

    flavor: Literal["triton_enhanced_runnable_image"]
    triton_model_repository: str
    triton_model_replicas: dict[str, str] | None = None
    triton_num_cpu: float
    triton_commit_tag: str
    triton_storage: Quantity | None = None
    triton_memory: Quantity | None = None
    triton_readiness_initial_delay_seconds: int = 300


ModelBundleFlavor = Annotated[
    CloudpickleArtifactFlavor
    | ZipArtifactFlavor
    | RunnableImageFlavor
    | StreamingEnhancedRunnableImageFlavor
    | TritonEnhancedRunnableImageFlavor,
    Field(discriminator="flavor"),
]


class CreateModelBundleV2Request(BaseModel):
    """A new bundle; the same name makes a new version."""

    name: str = Field(min_length=1, max_length=255)
    schema_location: str
    metadata: JsonObject | None = None
    flavor: ModelBundleFlavor


class CloneModelBundleV1Request(BaseModel):
    """A copy of a bundle. `new_app_config` takes the place of the copied one unless it is null or empty."""

    original_model_bundle_id: str
    new_app_config: JsonObject | None = None


class CloneModelBundleV2Request(CloneModelBundleV1Request):
    """A copy of a bundle. `new_app_config` takes the place of the copied one unless it is null or empty."""


class CreateModelBundleV2Response(BaseModel):
    """The id of the new bundle."""

    model_config = ConfigDict(protected_namespaces=())

    model_bundle_id: str


class ModelBundleV2Response(BaseModel):
    """One bundle with all fields of its flavor."""

    model_config = ConfigDict(protected_namespaces=())

    id: str
    name: str
    metadata: JsonObject
    created_at: datetime
    model_artifact_ids: list[str]
    schema_location: str | None = None
    flavor: ModelBundleFlavor


class ListModelBundlesV2Response(BaseModel):
    """The caller's bundles."""

    model_config = ConfigDict(protected_namespaces=())

    model_bundles: list[ModelBundleV2Response]


class ModelBundleEnvironmentParams(BaseModel):
    """The framework of a version 1 bundle; each framework needs its own fields."""

    framework_type: ModelBundleFrameworkType
    pytorch_image_tag: str | None = None
    tensorflow_version: str | None = None
    ecr_repo: str | None = None
    image_tag: str | None = None

    @model_validator(mode="after")
    def _framework_fields(self) -> "ModelBundleEnvironmentParams":
        needed = {
            ModelBundleFrameworkType.PYTORCH: ("pytorch_image_tag",),
            ModelBundleFrameworkType.TENSORFLOW: ("tensorflow_version",),
            ModelBundleFrameworkType.CUSTOM: ("image_tag", "ecr_repo"),
        }[self.framework_type]
        for name in needed:
            problem = f"Expected `{name}` to be non-null because framework type is {self.framework_type.value}"
            if name not in self.model_fields_set:
                raise ValueError(problem)
            if not getattr(self, name):
                raise AssertionError(problem)
        return self


class CreateModelBundleV1Request(BaseModel):
    """A new bundle in the older form."""

    name: str = Field(min_length=1, max_length=255)
    location: str
    requirements: list[str]
    env_params: ModelBundleEnvironmentParams
    packaging_type: ModelBundlePackagingType
    metadata: JsonObject | None = None
    app_config: JsonObject | None = None
    schema_location: str | None = None


class CreateModelBundleV1Response(BaseModel):
    """The id of the new bundle."""

    model_config = ConfigDict(protected_namespaces=())

    model_bundle_id: str


class ModelBundleV1Response(BaseModel):
    """One bundle in the older form."""

    model_config = ConfigDict(protected_namespaces=())

    id: str
    name: str
    location: str
    requirements: list[str]
    env_params: dict[str, Any]
    packaging_type: ModelBundlePackagingType
    metadata: JsonObject
    app_config: JsonObject | None = None
    created_at: datetime
    model_artifact_ids: list[str]
    schema_location: str | None = None


class ListModelBundlesV1Response(BaseModel):
    """The caller's bundles in the older form."""

    model_config = ConfigDict(protected_namespaces=())

    model_bundles: list[ModelBundleV1Response]
