"""Requests and documents for tests of the domain."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from model_engine_contracts.api.bundles import CreateModelBundleV2Request
from model_engine_contracts.api.endpoints import CreateModelEndpointV1Request
from model_engine_contracts.documents import BundleSnapshot, EndpointDocument
from model_engine_gateway.domain.bundles import new_v2_bundle, snapshot
from model_engine_gateway.domain.endpoint_changes import new_spec
from model_engine_gateway.domain.endpoint_documents import new_endpoint

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

FLAVORS: dict[str, dict[str, Any]] = {
    "artifact": {
        "flavor": "cloudpickle_artifact",
        "requirements": ["numpy"],
        "framework": {"framework_type": "pytorch", "pytorch_image_tag": "2"},
        "location": "s3://bucket/key",
        "load_predict_fn": "predict",
        "load_model_fn": "model",
    },
    "image": {
        "flavor": "runnable_image",
        "repository": "echo",
        "tag": "1",
        "command": ["serve"],
        "protocol": "http",
    },
    "streaming": {
        "flavor": "streaming_enhanced_runnable_image",
        "repository": "echo",
        "tag": "1",
        "streaming_command": ["stream"],
        "protocol": "http",
    },
    "triton": {
        "flavor": "triton_enhanced_runnable_image",
        "repository": "echo",
        "tag": "1",
        "command": ["serve"],
        "protocol": "http",
        "triton_model_repository": "r",
        "triton_num_cpu": 4,
        "triton_commit_tag": "t",
    },
}


@pytest.fixture
def make_bundle() -> Callable[..., BundleSnapshot]:
    def make(kind: str = "artifact", **fields: Any) -> BundleSnapshot:
        request = CreateModelBundleV2Request.model_validate(
            {"name": "bundle", "schema_location": "", "flavor": {**FLAVORS[kind], **fields}}
        )
        return snapshot(new_v2_bundle(request, None, bundle_id="bun_1", owner="ada", created_by="ada", now=NOW))

    return make


@pytest.fixture
def make_request() -> Callable[..., CreateModelEndpointV1Request]:
    def make(**fields: Any) -> CreateModelEndpointV1Request:
        request = {
            "name": "digits",
            "model_bundle_id": "bun_1",
            "endpoint_type": "sync",
            "metadata": {},
            "cpus": "1",
            "memory": "1Gi",
            "storage": "1Gi",
            "gpus": 0,
            "min_workers": 1,
            "max_workers": 2,
            "per_worker": 1,
            "labels": {"team": "t", "product": "p"},
        }
        return CreateModelEndpointV1Request.model_validate({**request, **fields})

    return make


@pytest.fixture
def document(
    make_request: Callable[..., CreateModelEndpointV1Request], make_bundle: Callable[..., BundleSnapshot]
) -> EndpointDocument:
    """An endpoint as it was just created."""
    spec = new_spec(make_request(), make_bundle())
    return new_endpoint(spec, endpoint_id="end_1", name="digits", owner="ada", user="ada", now=NOW)[0]
