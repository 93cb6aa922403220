"""From a spec to an environment and workers."""

import json

import pytest

from model_engine_builder.domain.worker_set import environment_of, refusal_of, worker_set_of
from model_engine_contracts.documents import EndpointSpec
from model_engine_contracts.failures import Reason
from model_engine_runtime.protocol import WorkerSet

from .situations import INSTALLATION, KEY, LIMITS, SPEC, document_of, scaled, spec_of

ZIP = {
    "flavor": "zip_artifact",
    "flavor_json": json.dumps(
        {
            "flavor": "zip_artifact",
            "load_predict_fn_module_path": "app.load_predict",
            "load_model_fn_module_path": "app.load_model",
        }
    ),
}
OWN_IMAGE = json.dumps({"flavor": "zip_artifact", "framework": {"framework_type": "custom_base_image"}})


def workers_of(spec: EndpointSpec) -> WorkerSet:
    return worker_set_of(document_of(spec=spec), spec, KEY, INSTALLATION, LIMITS)


def test_a_pickled_bundle() -> None:
    workers = workers_of(SPEC)
    assert workers.command == ("{python}", "-m", "model_engine_model_server")
    assert workers.env == {
        "PORT": "{port}",
        "ME_BUNDLE_KIND": "cloudpickle",
        "ME_ARTIFACT_PATH": "{artifact}",
        "ME_MODEL_CONCURRENCY": "4",
        "ME_MODEL_QUEUE_SIZE": "100",
    }
    assert (workers.cpus, workers.memory_bytes, workers.initial_replicas) == (1, 1 << 30, 1)
    environment = environment_of(SPEC, LIMITS)
    assert (environment.python, environment.artifact_sha256) == ("3.11", "a" * 64)


def test_a_zipped_bundle_with_a_config() -> None:
    env = workers_of(spec_of(bundle={**ZIP, "app_config_json": '{"a": 1}'})).env
    assert env["ME_BUNDLE_KIND"] == "zip"
    assert env["ME_LOAD_PREDICT_FN_MODULE_PATH"] == "app.load_predict"
    assert env["ME_LOAD_MODEL_FN_MODULE_PATH"] == "app.load_model"
    assert env["USER_CONFIG"] == '{"a": 1}'


@pytest.mark.parametrize(("min_workers", "initial"), [(0, 1), (1, 1), (3, 3)])
def test_a_new_endpoint_has_a_worker_to_show_that_it_works(min_workers: int, initial: int) -> None:
    assert workers_of(scaled(SPEC, min_workers=min_workers)).initial_replicas == initial


@pytest.mark.parametrize(
    ("bundle", "code"),
    [
        ({}, None),
        (ZIP, None),
        ({"flavor": "runnable_image", "flavor_json": "{}"}, Reason.FLAVOR_UNSUPPORTED),
        ({"flavor": "triton_enhanced_runnable_image", "flavor_json": "{}"}, Reason.FLAVOR_UNSUPPORTED),
        ({"flavor": "zip_artifact", "flavor_json": OWN_IMAGE}, Reason.FLAVOR_UNSUPPORTED),
        ({"artifact_id": None, "location": "s3://bucket/key"}, None),
        ({"artifact_id": None, "location": "ftp://host/key"}, Reason.ARTIFACT_MISSING),
        ({"artifact_id": None, "location": "artifact://art_1"}, Reason.ARTIFACT_MISSING),
    ],
)
def test_what_cannot_run_here_is_said_at_once(bundle: dict[str, str | None], code: Reason | None) -> None:
    refusal = refusal_of(spec_of(bundle=bundle))
    assert (refusal.code if refusal else None) is code
    assert refusal is None or "digits" in refusal.message
