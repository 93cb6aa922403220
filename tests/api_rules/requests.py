"""Bodies that are accepted, to be changed in one point by a row."""

import copy
from typing import Any

from api_rules.row import CHANGED, DROP, Off, Row, Unchecked

FLAVORS: dict[str, dict[str, Any]] = {
    "artifact": {
        "flavor": "cloudpickle_artifact",
        "requirements": ["numpy"],
        "framework": {"framework_type": "pytorch", "pytorch_image_tag": "2"},
        "app_config": {"a": 1},
        "location": "s3://bucket/key",
        "load_predict_fn": "predict",
        "load_model_fn": "model",
    },
    "zip": {
        "flavor": "zip_artifact",
        "requirements": [],
        "framework": {"framework_type": "tensorflow", "tensorflow_version": "2.3"},
        "location": "s3://bucket/zip",
        "load_predict_fn_module_path": "a.predict",
        "load_model_fn_module_path": "a.model",
    },
    "custom": {
        "flavor": "cloudpickle_artifact",
        "requirements": [],
        "framework": {
            "framework_type": "custom_base_image",
            "image_repository": "registry.example.com/mine",
            "image_tag": "1",
        },
        "location": "s3://bucket/key",
        "load_predict_fn": "predict",
        "load_model_fn": "model",
    },
    "image": {
        "flavor": "runnable_image",
        "repository": "registry.example.com/echo",
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
    "both": {
        "flavor": "streaming_enhanced_runnable_image",
        "repository": "echo",
        "tag": "1",
        "command": ["serve"],
        "streaming_command": ["stream"],
        "protocol": "http",
    },
    "multinode": {
        "flavor": "streaming_enhanced_runnable_image",
        "repository": "echo",
        "tag": "1",
        "streaming_command": ["stream"],
        "protocol": "http",
        "worker_command": ["join"],
        "worker_env": {"A": "b"},
    },
    "reserved": {
        "flavor": "runnable_image",
        "repository": "echo",
        "tag": "1",
        "command": ["serve"],
        "protocol": "http",
        "env": {"HTTP_PORT": "1", "DD_ENV": "x"},
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
        "triton_memory": "10Gi",
        "triton_storage": "10G",
    },
    "triton-idle": {
        "flavor": "triton_enhanced_runnable_image",
        "repository": "echo",
        "tag": "1",
        "command": ["serve"],
        "protocol": "http",
        "triton_model_repository": "r",
        "triton_num_cpu": 0.5,
        "triton_commit_tag": "t",
    },
}
"""The flavors of the bundles `<bundle:KIND>`."""

V1_BUNDLE: dict[str, Any] = {
    "name": "<name>",
    "location": "s3://bucket/key",
    "requirements": ["numpy"],
    "env_params": {"framework_type": "pytorch", "pytorch_image_tag": "2"},
    "packaging_type": "cloudpickle",
    "metadata": {"load_predict_fn": "p", "load_model_fn": "m"},
}

ENDPOINT: dict[str, Any] = {
    "name": "<name>",
    "model_bundle_id": "<bundle:artifact>",
    "endpoint_type": "sync",
    "metadata": {},
    "cpus": "1",
    "memory": "1Gi",
    "storage": "1Gi",
    "gpus": 0,
    "min_workers": 0,
    "max_workers": 2,
    "per_worker": 1,
    "labels": {"team": "t", "product": "p"},
}

GPU = {"gpus": 1, "gpu_type": "nvidia-ampere-a10"}

ENDPOINTS: dict[str, dict[str, Any]] = {
    "new": {},
    "built": {},
    "deleting": {},
    "public": {"public_inference": True},
    "async": {"endpoint_type": "async"},
    "streaming": {"endpoint_type": "streaming"},
    "gpu": GPU,
    "wide": {"per_worker": 50},
    "image": {"model_bundle_id": "<bundle:image>"},
    "llm": {"metadata": {"_llm": {"model_name": "m"}, "a": 1}},
    "callback": {
        "default_callback_url": "http://example.com",
        "default_callback_auth": {"kind": "basic", "username": "u", "password": "secret"},
    },
    "multinode": {
        "endpoint_type": "streaming",
        "model_bundle_id": "<bundle:multinode>",
        "nodes_per_worker": 2,
        "max_workers": 1,
        "min_workers": 1,
        **GPU,
    },
}
"""What the endpoints `<endpoint:KIND>` ask for beyond ENDPOINT. One row shares none with another."""


def changed(body: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """A copy of `body` with some fields replaced or left out."""
    merged = {**copy.deepcopy(body), **change}
    return {name: value for name, value in merged.items() if value is not DROP}


def creation(
    section: str,
    rule: str,
    change: dict[str, Any],
    answer: Any = CHANGED,
    status: int = 400,
    off: Off | Unchecked | None = None,
    **more: Any,
) -> Row:
    """A new endpoint that differs from an accepted one by `change`."""
    status = 200 if answer is CHANGED else status
    body = changed(ENDPOINT, change)
    return Row(section, f"create: {rule}", "POST", "/v1/model-endpoints", status, answer, off, body, **more)


def update(
    section: str,
    rule: str,
    change: dict[str, Any],
    answer: Any = CHANGED,
    status: int = 400,
    off: Off | Unchecked | None = None,
    kind: str = "new",
    **more: Any,
) -> Row:
    """A change of an endpoint of that kind."""
    status = 200 if answer is CHANGED else status
    path = f"/v1/model-endpoints/<endpoint:{kind}>"
    return Row(section, f"update: {rule}", "PUT", path, status, answer, off, change, **more)


def then_read(section: str, rule: str, change: dict[str, Any], members: Any, **more: Any) -> Row:
    """What a GET shows of a built endpoint after an update."""
    kind = more.pop("kind", "built")
    path = f"/v1/model-endpoints/<endpoint:{kind}>"
    before = (("PUT", path, change),) if change else ()
    return Row(section, f"read: {rule}", "GET", path, 200, members, before=before, **more)
