"""Every rule on endpoint requests: the text of its refusal, and what just passes."""

from collections.abc import Callable
from typing import Any

import pytest

from model_engine_contracts.api.endpoints import CreateModelEndpointV1Request, UpdateModelEndpointV1Request
from model_engine_contracts.documents import BundleSnapshot, EndpointSpec
from model_engine_gateway.domain.endpoint_changes import check_new_endpoint, check_update, new_spec, updated_spec
from model_engine_gateway.domain.invalid import Invalid

A10 = "nvidia-ampere-a10"
H100 = "nvidia-hopper-h100"
VALUE_REGEX = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
TAGS = dict.fromkeys(["idempotencyKeyPrefix", "product", "type", "subType", "payee", "payor", "reference"], "x")

MakeRequest = Callable[..., CreateModelEndpointV1Request]
MakeBundle = Callable[..., BundleSnapshot]

REFUSED_BEFORE_THE_BUNDLE = [
    (
        {"name": "has space"},
        "Invalid endpoint name 'has space': use letters, digits, '-', '_' and '.', "
        "beginning and ending with a letter or digit",
    ),
    (
        {"name": ""},
        "Invalid endpoint name '': use letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
    ),
    ({"max_workers": 251}, "Requested max workers 251 too high"),
    ({"min_workers": 3, "max_workers": 2}, "Requested min workers 3 too high: it exceeds max_workers=2"),
    (
        {"endpoint_type": "async", "concurrent_requests_per_worker": 21},
        "Requested concurrent requests per worker 21 too high",
    ),
    ({"task_expires_seconds": 2**31}, "Requested task_expires_seconds=2147483648 too high. The maximum is 2147483647"),
    (
        {"labels": {}},
        "Missing label 'team' in labels. These are all required: {'product', 'team'}",
    ),
    (
        {"labels": {"team": "t"}},
        "Missing label 'product' in labels. These are all required: {'product', 'team'}",
    ),
    ({"labels": {"team": "t", "product": "p", "user_id": "u"}}, "Cannot specify 'user_id' in labels"),
    ({"labels": {"team": "t", "product": "p", "endpoint_name": "e"}}, "Cannot specify 'endpoint_name' in labels"),
    ({"labels": {"team": "_INVALID_TEAM", "product": "p"}}, "Invalid team"),
    (
        {"labels": {"team": "t", "product": "a b"}},
        f"Invalid label value a b, must match regex {VALUE_REGEX}",
    ),
    (
        {"labels": {"team": "t", "product": "a\n"}},
        f"Invalid label value a\n, must match regex {VALUE_REGEX}",
    ),
    (
        {"labels": {"team": "t", "product": "a" * 64}},
        f"Invalid label value {'a' * 64}, must be at most 63 characters",
    ),
    (
        {"billing_tags": {"product": "x"}},
        "Missing billing tag keys {'idempotencyKeyPrefix', 'payee', 'payor', 'reference', 'subType', 'type'}",
    ),
    ({"billing_tags": {**TAGS, "payee": 1}}, "Billing tags must have string keys and string/dict values"),
    (
        {"post_inference_hooks": ["logging", "Logging"]},
        "Unsupported post-inference hook Logging. The supported hooks are: ['billing', 'callback', 'logging']",
    ),
]

REFUSED_WITH_THE_BUNDLE = [
    (
        "artifact",
        {"nodes_per_worker": 2},
        "Bundle bundle is not multinode compatible. It must be a RunnableImage and have worker_command and "
        "worker_args set.",
    ),
    ("image", {"endpoint_type": "streaming"}, "Cannot create a streaming endpoint for a non-streaming model bundle."),
    (
        "artifact",
        {"endpoint_type": "streaming", "per_worker": 2},
        "Cannot create a streaming endpoint with per_worker != 1.",
    ),
    ("streaming", {}, "Cannot create a non-streaming endpoint with no bundle command."),
    (
        "artifact",
        {"metadata": {"_CONVERTED_FROM_ARTIFACT_LIKE": 1}},
        "_CONVERTED_FROM_ARTIFACT_LIKE is a reserved metadata key and cannot be used by user.",
    ),
    ("artifact", {"gpu_type": A10}, "Cannot have gpus=0 when gpu_type is not None"),
    ("artifact", {"gpus": 1}, "Must provide gpu_type if gpus > 0"),
    ("artifact", {"cpus": "one"}, "Requested cpus='one' is incorrectly formatted"),
    ("artifact", {"cpus": "1e3"}, "Requested cpus='1e3' is incorrectly formatted"),
    ("artifact", {"cpus": 0}, "Requested cpus must be positive"),
    ("artifact", {"cpus": "6.5"}, "Requested cpus=7.5 too high. The maximum for gpu_type=None is 6"),
    ("artifact", {"memory": "1Xi"}, "Requested memory='1Xi' is incorrectly formatted"),
    ("artifact", {"memory": "9" * 10_000}, f"Requested memory='{'9' * 10_000}' is incorrectly formatted"),
    ("artifact", {"memory": "0"}, "Requested memory must be positive"),
    (
        "artifact",
        {"memory": "249Gi", "gpus": 1, "gpu_type": A10},
        "Requested memory=269509197824 too high. The maximum for gpu_type='nvidia-ampere-a10' is 248.0Gi",
    ),
    (
        "artifact",
        {"memory": "3Ti", "gpus": 1, "gpu_type": H100},
        "Requested memory=3300682366976 too high. The maximum for gpu_type='nvidia-hopper-h100' is 2.0Ti",
    ),
    ("artifact", {"storage": ""}, "Requested storage='' is incorrectly formatted"),
    (
        "artifact",
        {"storage": "640Gi"},
        "Requested storage=688194767360 too high. The maximum for gpu_type=None is 639.1Gi",
    ),
    ("triton", {}, "Triton deployments require at least one GPU"),
]


@pytest.mark.parametrize(("fields", "text"), REFUSED_BEFORE_THE_BUNDLE)
def test_refused_before_the_bundle_is_looked_at(make_request: MakeRequest, fields: dict[str, Any], text: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_new_endpoint(make_request(**fields))
    assert refused.value.text == text


@pytest.mark.parametrize(("kind", "fields", "text"), REFUSED_WITH_THE_BUNDLE)
def test_refused_with_its_bundle(
    make_request: MakeRequest, make_bundle: MakeBundle, kind: str, fields: dict[str, Any], text: str
) -> None:
    request = make_request(**fields)
    check_new_endpoint(request)
    with pytest.raises(Invalid) as refused:
        new_spec(request, make_bundle(kind))
    assert refused.value.text == text


@pytest.mark.parametrize(
    ("flavor", "fields", "text"),
    [
        ({"triton_num_cpu": 0.5}, {"memory": "bad"}, "Triton deployments require at least one CPU"),
        ({"triton_memory": "40Gi"}, {}, "Requested memory=46170898432 too high. The maximum for gpu_type=None is 0.0"),
        ({"triton_num_cpu": 6}, {}, "Requested cpus=8 too high. The maximum for gpu_type=None is 0"),
    ],
)
def test_triton_counts_beside_the_request(
    make_request: MakeRequest, make_bundle: MakeBundle, flavor: dict[str, Any], fields: dict[str, Any], text: str
) -> None:
    with pytest.raises(Invalid) as refused:
        new_spec(make_request(**fields), make_bundle("triton", **flavor))
    assert refused.value.text == text


def test_several_nodes_need_streaming_gpus_and_a_fixed_number_of_workers(
    make_request: MakeRequest, make_bundle: MakeBundle
) -> None:
    bundle = make_bundle("streaming", worker_command=["join"], worker_env={"A": "b"})
    fields = {"nodes_per_worker": 2, "endpoint_type": "streaming", "gpus": 1, "gpu_type": H100}

    with pytest.raises(Invalid, match="Only streaming GPU endpoints"):
        new_spec(make_request(nodes_per_worker=2), bundle)
    with pytest.raises(Invalid, match="min_workers=1 and max_workers=2 must be equal"):
        new_spec(make_request(**fields), bundle)
    assert new_spec(make_request(**fields, max_workers=1), bundle).resources.nodes_per_worker == 2


def test_variables_of_the_platform_cannot_be_set(make_request: MakeRequest, make_bundle: MakeBundle) -> None:
    with pytest.raises(Invalid, match="HTTP_PORT, S3_BUCKET"):
        new_spec(make_request(), make_bundle("image", env={"S3_BUCKET": "x", "HTTP_PORT": "1", "MINE": "y"}))


def test_what_just_passes(make_request: MakeRequest, make_bundle: MakeBundle) -> None:
    request = make_request(
        cpus=6,
        memory="28Gi",
        storage=1.5e9,
        min_workers=250,
        max_workers=250,
        per_worker=30,
        labels={"team": "t", "product": "", "x.example/k": "A-b_c.d"},
        billing_tags={**TAGS, "payor": {"a": 1}, "more": "y"},
        post_inference_hooks=["billing", "callback", "logging"],
    )
    check_new_endpoint(request)
    spec = new_spec(request, make_bundle())

    assert (spec.resources.cpus, spec.resources.memory_bytes, spec.resources.storage_bytes) == (6, 28 << 30, 1.5e9)
    assert (spec.resources.cpus_given, spec.resources.memory_given) == (6, "28Gi")
    assert spec.scaling.concurrent_requests_per_worker == 20
    check_new_endpoint(make_request(min_workers=5, max_workers=0))
    assert new_spec(make_request(cpus="100m"), make_bundle()).resources.cpus == 0.1
    assert new_spec(make_request(endpoint_type="streaming"), make_bundle()).endpoint_type == "streaming"


def _updated(spec: EndpointSpec, bundle: BundleSnapshot | None = None, **fields: Any) -> EndpointSpec:
    request = UpdateModelEndpointV1Request.model_validate(fields)
    check_update(request)
    return updated_spec(spec, request, bundle)


def test_an_update_keeps_what_it_does_not_give(make_request: MakeRequest, make_bundle: MakeBundle) -> None:
    spec = new_spec(make_request(billing_tags=TAGS, default_callback_url="http://x.example"), make_bundle())
    nulls = dict.fromkeys(set(UpdateModelEndpointV1Request.model_fields) - {"gpus"})

    assert _updated(spec) == spec
    assert _updated(spec, **nulls) == spec
    assert spec.default_callback_url == "http://x.example"


def test_an_update_merges_labels_and_replaces_metadata(make_request: MakeRequest, make_bundle: MakeBundle) -> None:
    spec = new_spec(make_request(labels={"team": "t", "product": "p", "k": "v"}, metadata={"a": 1}), make_bundle())
    updated = _updated(spec, labels={"team": "u", "product": "p"}, metadata={"b": 2}, cpus="2", max_workers=3)

    assert updated.labels == {"team": "u", "product": "p", "k": "v"}
    assert updated.metadata_json == '{"b": 2}'
    assert (updated.resources.cpus, updated.resources.cpus_given, updated.resources.memory_given) == (2, "2", "1Gi")
    assert (updated.scaling.min_workers, updated.scaling.max_workers) == (1, 3)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"labels": {"team": "t"}}, "Missing label 'product' in labels. These are all required: {'product', 'team'}"),
        ({"gpu_type": None}, "Must provide gpu_type if gpus > 0"),
        ({"gpus": None}, "Cannot have gpus=None when gpu_type is not None"),
        ({"gpus": 0}, "Cannot have gpus=0 when gpu_type is not None"),
        ({"min_workers": 3}, "Requested min workers 3 too high: it exceeds max_workers=2"),
        (
            {"memory": "251Gi"},
            "Requested memory=271656681472 too high. The maximum for gpu_type='nvidia-ampere-a10' is 248.0Gi",
        ),
        (
            {"metadata": {"_CONVERTED_FROM_ARTIFACT_LIKE": 1}},
            "_CONVERTED_FROM_ARTIFACT_LIKE is a reserved metadata key and cannot be used by user.",
        ),
    ],
)
def test_refused_updates(make_request: MakeRequest, make_bundle: MakeBundle, fields: dict[str, Any], text: str) -> None:
    spec = new_spec(make_request(gpus=1, gpu_type=A10), make_bundle())
    with pytest.raises(Invalid) as refused:
        _updated(spec, **fields)
    assert refused.value.text == text


def test_an_update_may_give_the_gpus_back(make_request: MakeRequest, make_bundle: MakeBundle) -> None:
    spec = new_spec(make_request(gpus=1, gpu_type=A10), make_bundle())
    updated = _updated(spec, gpus=0, gpu_type=None)

    assert (updated.resources.gpus, updated.resources.gpu_type) == (0, None)
    assert _updated(updated, max_workers=3).scaling.max_workers == 3


def test_a_new_bundle_must_serve_the_type(make_request: MakeRequest, make_bundle: MakeBundle) -> None:
    spec = new_spec(make_request(endpoint_type="streaming"), make_bundle())
    with pytest.raises(Invalid, match="non-streaming model bundle"):
        _updated(spec, make_bundle("image"), model_bundle_id="bun_1")


def test_a_masked_secret_that_comes_back_stays_what_it_was(make_request: MakeRequest, make_bundle: MakeBundle) -> None:
    auth = {"kind": "basic", "username": "u", "password": "secret"}
    spec = new_spec(make_request(default_callback_auth=auth), make_bundle())

    assert _updated(spec, default_callback_auth={**auth, "password": "********"}) == spec
    other = _updated(spec, default_callback_auth={**auth, "username": "v", "password": "********"})
    assert '"username": "v"' in str(other.default_callback_auth_json)
