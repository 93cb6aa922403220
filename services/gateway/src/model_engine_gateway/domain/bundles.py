"""Bundles: one document, made and read through version 1 or version 2 of the API."""

import json
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from model_engine_contracts.api.bundles import (
    CloudpickleArtifactFlavor,
    CreateModelBundleV1Request,
    CreateModelBundleV2Request,
    CustomFramework,
    Framework,
    ModelBundleEnvironmentParams,
    ModelBundleFlavor,
    ModelBundleFrameworkType,
    ModelBundlePackagingType,
    ModelBundleV1Response,
    ModelBundleV2Response,
    PytorchFramework,
    RunnableImageFlavor,
    TensorflowFramework,
    ZipArtifactFlavor,
)
from model_engine_contracts.artifact_location import split_location
from model_engine_contracts.documents import BundleSnapshot
from model_engine_gateway.domain.field_rules import check_text
from model_engine_gateway.domain.invalid import Invalid

ARTIFACT_SCHEME = "artifact://"

CLONED_FROM = "__cloned_from_bundle_id"
"""Key of a clone's metadata that holds the id of its original."""

_FLAVOR: TypeAdapter[ModelBundleFlavor] = TypeAdapter(ModelBundleFlavor)
_STUB_DELAY_SECONDS = 30


class UploadedArtifact(BaseModel):
    """What is known of an artifact that was uploaded to the platform. `python` is the uploader's version."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    id: str = Field(alias="_id")
    owner: str
    sha256: str
    size: int
    python: str | None = None


class BundleDocument(BaseModel):
    """One bundle as MongoDB holds it; it never changes. Free JSON is text, for the reason given in the contracts.

    `location`, `requirements`, `packaging_type`, `env_params_json` and `app_config_json` are its version 1 view.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    id: str = Field(alias="_id")
    name: str
    owner: str
    created_by: str
    created_at: datetime
    schema_location: str | None
    metadata_json: str
    flavor: str
    flavor_json: str
    location: str
    requirements: tuple[str, ...]
    packaging_type: ModelBundlePackagingType
    env_params_json: str
    app_config_json: str | None
    artifact: UploadedArtifact | None = None
    version: int = 1
    outbox: tuple[dict[str, Any], ...] = ()

    def read_flavor(self) -> ModelBundleFlavor:
        """The flavor as its model."""
        return _FLAVOR.validate_python(json.loads(self.flavor_json))


def uploaded_artifact_id(flavor: ModelBundleFlavor) -> str | None:
    """The id of the platform's own artifact that a flavor names, if it names one."""
    if isinstance(flavor, CloudpickleArtifactFlavor | ZipArtifactFlavor) and flavor.location.startswith(
        ARTIFACT_SCHEME
    ):
        return flavor.location.removeprefix(ARTIFACT_SCHEME)
    return None


def brings_image(flavor: ModelBundleFlavor) -> bool:
    """Whether workers of this flavor run an image of the bundle's owner."""
    if isinstance(flavor, CloudpickleArtifactFlavor | ZipArtifactFlavor):
        return isinstance(flavor.framework, CustomFramework)
    return True


def flavor_of_v1(request: CreateModelBundleV1Request) -> ModelBundleFlavor:
    """The flavor of a version 1 bundle; the names of its functions are in its metadata. Raises Invalid."""
    framework = _framework(request.env_params)
    match request.packaging_type:
        case ModelBundlePackagingType.CLOUDPICKLE:
            return CloudpickleArtifactFlavor(
                flavor="cloudpickle_artifact",
                requirements=request.requirements,
                framework=framework,
                app_config=request.app_config,
                location=request.location,
                load_predict_fn=_function_name(request, "load_predict_fn"),
                load_model_fn=_function_name(request, "load_model_fn"),
            )
        case ModelBundlePackagingType.ZIP:
            return ZipArtifactFlavor(
                flavor="zip_artifact",
                requirements=request.requirements,
                framework=framework,
                app_config=request.app_config,
                location=request.location,
                load_predict_fn_module_path=_function_name(request, "load_predict_fn_module_path"),
                load_model_fn_module_path=_function_name(request, "load_model_fn_module_path"),
            )
        case ModelBundlePackagingType.LIRA:
            return RunnableImageFlavor(
                flavor="runnable_image",
                repository="",
                tag="",
                command=[],
                protocol="http",
                readiness_initial_delay_seconds=_STUB_DELAY_SECONDS,
            )


def new_v1_bundle(
    request: CreateModelBundleV1Request,
    flavor: ModelBundleFlavor,
    artifact: UploadedArtifact | None,
    *,
    bundle_id: str,
    owner: str,
    created_by: str,
    now: datetime,
) -> BundleDocument:
    """The document of a bundle made through version 1. Raises Invalid."""
    return _checked(
        BundleDocument(
            id=bundle_id,
            name=request.name,
            owner=owner,
            created_by=created_by,
            created_at=now,
            schema_location=request.schema_location,
            metadata_json=json.dumps(request.metadata or {}),
            flavor=flavor.flavor,
            flavor_json=json.dumps(flavor.model_dump(mode="json")),
            location=request.location,
            requirements=tuple(request.requirements),
            packaging_type=request.packaging_type,
            env_params_json=json.dumps(request.env_params.model_dump(mode="json")),
            app_config_json=_text_or_none(request.app_config),
            artifact=artifact,
        )
    )


def new_v2_bundle(
    request: CreateModelBundleV2Request,
    artifact: UploadedArtifact | None,
    *,
    bundle_id: str,
    owner: str,
    created_by: str,
    now: datetime,
) -> BundleDocument:
    """The document of a bundle made through version 2. Raises Invalid."""
    flavor = request.flavor
    if isinstance(flavor, CloudpickleArtifactFlavor | ZipArtifactFlavor):
        is_zip = isinstance(flavor, ZipArtifactFlavor)
        packaging = ModelBundlePackagingType.ZIP if is_zip else ModelBundlePackagingType.CLOUDPICKLE
        location, requirements, app_config = flavor.location, flavor.requirements, flavor.app_config
        environment = _environment_of_framework(flavor.framework)
    else:
        packaging = ModelBundlePackagingType.LIRA
        location, requirements, app_config = "unused", [], None
        environment = _environment("custom_base_image", ecr_repo=flavor.repository, image_tag=flavor.tag)
    return _checked(
        BundleDocument(
            id=bundle_id,
            name=request.name,
            owner=owner,
            created_by=created_by,
            created_at=now,
            schema_location=request.schema_location,
            metadata_json=json.dumps(request.metadata or {}),
            flavor=flavor.flavor,
            flavor_json=json.dumps(flavor.model_dump(mode="json")),
            location=location,
            requirements=tuple(requirements),
            packaging_type=packaging,
            env_params_json=json.dumps(environment),
            app_config_json=_text_or_none(app_config),
            artifact=artifact,
        )
    )


def cloned_bundle(
    original: BundleDocument, app_config: dict[str, Any] | None, *, bundle_id: str, created_by: str, now: datetime
) -> BundleDocument:
    """A copy of a bundle that says where it comes from; an `app_config` that is not empty replaces the copied one."""
    flavor, app_config_json = original.flavor_json, original.app_config_json
    if app_config:
        app_config_json = json.dumps(app_config)
        parsed = original.read_flavor()
        if isinstance(parsed, CloudpickleArtifactFlavor | ZipArtifactFlavor):
            flavor = json.dumps(parsed.model_copy(update={"app_config": app_config}).model_dump(mode="json"))
    metadata = {**json.loads(original.metadata_json), CLONED_FROM: original.id}
    changes = {
        "id": bundle_id,
        "created_by": created_by,
        "created_at": now,
        "metadata_json": json.dumps(metadata),
        "flavor_json": flavor,
        "app_config_json": app_config_json,
    }
    return original.model_copy(update=changes)


def v1_view(bundle: BundleDocument) -> ModelBundleV1Response:
    """The bundle as version 1 shows it."""
    return ModelBundleV1Response(
        id=bundle.id,
        name=bundle.name,
        location=bundle.location,
        requirements=list(bundle.requirements),
        env_params=json.loads(bundle.env_params_json),
        packaging_type=bundle.packaging_type,
        metadata=json.loads(bundle.metadata_json),
        app_config=None if bundle.app_config_json is None else json.loads(bundle.app_config_json),
        created_at=bundle.created_at,
        model_artifact_ids=[],
        schema_location=bundle.schema_location,
    )


def v2_view(bundle: BundleDocument) -> ModelBundleV2Response:
    """The bundle as version 2 shows it."""
    return ModelBundleV2Response(
        id=bundle.id,
        name=bundle.name,
        metadata=json.loads(bundle.metadata_json),
        created_at=bundle.created_at,
        model_artifact_ids=[],
        schema_location=bundle.schema_location,
        flavor=bundle.read_flavor(),
    )


def snapshot(bundle: BundleDocument) -> BundleSnapshot:
    """What an endpoint's spec keeps of its bundle."""
    flavor = bundle.read_flavor()
    is_artifact = isinstance(flavor, CloudpickleArtifactFlavor | ZipArtifactFlavor)
    return BundleSnapshot(
        id=bundle.id,
        name=bundle.name,
        flavor=bundle.flavor,
        flavor_json=bundle.flavor_json,
        requirements=bundle.requirements if is_artifact else (),
        location=bundle.location if is_artifact else None,
        artifact_id=bundle.artifact.id if bundle.artifact else None,
        artifact_sha256=bundle.artifact.sha256 if bundle.artifact else split_location(bundle.location)[1],
        python=bundle.artifact.python if bundle.artifact else None,
        app_config_json=bundle.app_config_json,
    )


def flavor_of_snapshot(bundle: BundleSnapshot) -> ModelBundleFlavor:
    """The flavor of the bundle that an endpoint runs."""
    return _FLAVOR.validate_python(json.loads(bundle.flavor_json))


def _checked(bundle: BundleDocument) -> BundleDocument:
    check_text(name=bundle.name, location=bundle.location, schema_location=bundle.schema_location)
    for requirement in bundle.requirements:
        check_text(requirements=requirement)
    return bundle


def _function_name(request: CreateModelBundleV1Request, key: str) -> str:
    name = (request.metadata or {}).get(key, "")
    if not isinstance(name, str):
        raise Invalid(f"The user specified an invalid value: metadata.{key} must be a string", "invalid_metadata")
    return name


def _framework(params: ModelBundleEnvironmentParams) -> Framework:
    match params.framework_type:
        case ModelBundleFrameworkType.PYTORCH:
            return PytorchFramework(framework_type="pytorch", pytorch_image_tag=params.pytorch_image_tag or "")
        case ModelBundleFrameworkType.TENSORFLOW:
            return TensorflowFramework(framework_type="tensorflow", tensorflow_version=params.tensorflow_version or "")
        case ModelBundleFrameworkType.CUSTOM:
            return CustomFramework(
                framework_type="custom_base_image",
                image_repository=params.ecr_repo or "",
                image_tag=params.image_tag or "",
            )


def _environment_of_framework(framework: Framework) -> dict[str, str | None]:
    match framework:
        case PytorchFramework():
            return _environment("pytorch", pytorch_image_tag=framework.pytorch_image_tag)
        case TensorflowFramework():
            return _environment("tensorflow", tensorflow_version=framework.tensorflow_version)
        case CustomFramework():
            return _environment("custom_base_image", ecr_repo=framework.image_repository, image_tag=framework.image_tag)


def _environment(framework_type: str, **fields: str) -> dict[str, str | None]:
    return {
        "framework_type": framework_type,
        "pytorch_image_tag": None,
        "tensorflow_version": None,
        "ecr_repo": None,
        "image_tag": None,
        **fields,
    }


def _text_or_none(value: dict[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value)
