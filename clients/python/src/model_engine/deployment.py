"""What a deployment consists of, and the bundle and endpoint requests that it becomes."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from model_engine.bundling import Bundle, source_of
from model_engine.errors import RefusedError
from model_engine_contracts.api.bundles import CloudpickleArtifactFlavor, CreateModelBundleV2Request, PytorchFramework
from model_engine_contracts.api.common import Quantity
from model_engine_contracts.api.endpoints import (
    CreateModelEndpointV1Request,
    UpdateModelEndpointV1Request,
)

ModelT = TypeVar("ModelT", bound=BaseModel)

_NEW_ENDPOINT = {
    "endpoint_type": "sync",
    "cpus": 1,
    "memory": "1Gi",
    "storage": "1Gi",
    "gpus": 0,
    "min_workers": 1,
    "max_workers": 1,
    "per_worker": 1,
    "labels": {"team": "default", "product": "default"},
    "metadata": {},
}


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """How an endpoint runs. None: the default for a new endpoint, unchanged for one that exists.

    `cpus`, `memory` and `storage` are of one worker (cores; bytes or a text such as "1Gi"). `per_worker` is the number
    of requests in flight or queued per worker that the autoscaler aims at; `concurrent_requests_per_worker` how many
    run at once in one worker. `labels` are merged into those that exist.
    """

    endpoint_type: Literal["sync", "async", "streaming"] | None = None
    cpus: Quantity | None = None
    memory: Quantity | None = None
    storage: Quantity | None = None
    gpus: int | None = None
    gpu_type: str | None = None
    min_workers: int | None = None
    max_workers: int | None = None
    per_worker: int | None = None
    concurrent_requests_per_worker: int | None = None
    labels: dict[str, str] | None = None
    metadata: dict[str, Any] | None = None

    def creation(self, name: str, bundle_id: str) -> CreateModelEndpointV1Request:
        """The request for a new endpoint; raises RefusedError naming each wrong field."""
        fields = {**_NEW_ENDPOINT, **self._given(), "name": name, "model_bundle_id": bundle_id}
        return _validated(CreateModelEndpointV1Request, fields)

    def change(self, bundle_id: str) -> UpdateModelEndpointV1Request:
        """The request for a change of an endpoint; raises RefusedError naming each wrong field."""
        return _validated(UpdateModelEndpointV1Request, {**self._given(), "model_bundle_id": bundle_id})

    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Deployment:
    """A bundle, the file that it is pickled in, and the endpoint that is to run it."""

    name: str
    artifact: Path
    bundle: Bundle
    settings: EndpointSettings

    def bundle_request(self, location: str) -> CreateModelBundleV2Request:
        """The request for the bundle, once its artifact is at `location`."""
        # The API wants a framework; where workers are processes it is recorded and has no effect.
        framework = PytorchFramework(framework_type="pytorch", pytorch_image_tag="none")
        flavor = CloudpickleArtifactFlavor(
            flavor="cloudpickle_artifact",
            requirements=list(self.bundle.requirements),
            framework=framework,
            app_config=self.bundle.app_config,
            location=location,
            # For readers of the bundle; workers run the pickle.
            load_predict_fn=source_of(self.bundle.load_predict_fn),
            load_model_fn=source_of(self.bundle.load_model_fn),
        )
        return CreateModelBundleV2Request(name=self.name, schema_location="", flavor=flavor)


def _validated(model: type[ModelT], fields: dict[str, Any]) -> ModelT:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        problems = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        raise RefusedError("; ".join(problems)) from error
