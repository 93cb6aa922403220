"""Rows of sections 3.8, 6.1 and 6.2: bundles through both versions of the API."""

from typing import Any
from unittest.mock import ANY

from api_rules.lookups import any_bundle, no_artifact
from api_rules.requests import FLAVORS, V1_BUNDLE, changed
from api_rules.row import BUNDLE_MADE, DROP, Holding, Like, Off, Row, Unchecked, problem, refusal, rule_of

V1, V2 = "CreateModelBundleV1Request", "CreateModelBundleV2Request"
BUNDLE_ID, TIME = Like("bun_[0-9a-v]{20}"), Like(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
_OWNER = Off("model_engine_gateway.repositories.bundles", "BundleRepository.find", any_bundle)
_PRIVILEGE = rule_of("bundles", "_check_privilege")
_FORBIDDEN = refusal("User is not authorized to create model bundle with the specified settings.", "not_privileged")


def _v1(rule: str, change: dict[str, Any], answer: Any = BUNDLE_MADE, status: int = 422, **more: Any) -> Row:
    status = 200 if answer is BUNDLE_MADE else status
    return Row("6.1", rule, "POST", "/v1/model-bundles", status, answer, body=changed(V1_BUNDLE, change), **more)


def _v2(rule: str, flavor: dict[str, Any], answer: Any = BUNDLE_MADE, status: int = 422, **more: Any) -> Row:
    status = 200 if answer is BUNDLE_MADE else status
    section = more.pop("section", "6.2")
    body = {"name": "<name>", "schema_location": "none", "flavor": flavor}
    return Row(section, rule, "POST", "/v2/model-bundles", status, answer, body=body, **more)


def _framework(rule: str, params: dict[str, Any], field: str, kind: str) -> Row:
    text = f"Expected `{field}` to be non-null because framework type is {params['framework_type']}"
    prefix = {"assertion_error": "Assertion failed", "value_error": "Value error"}[kind]
    answer = problem(kind, ["body", "env_params"], f"{prefix}, {text}", params, {"error": text})
    return _v1(rule, {"env_params": params}, answer, off=Unchecked(V1, "env_params"))


FRAMEWORKS = [
    _framework(
        "pytorch_image_tag is null",
        {"framework_type": "pytorch", "pytorch_image_tag": None},
        "pytorch_image_tag",
        "assertion_error",
    ),
    _framework(
        "pytorch_image_tag is empty",
        {"framework_type": "pytorch", "pytorch_image_tag": ""},
        "pytorch_image_tag",
        "assertion_error",
    ),
    _framework("pytorch_image_tag is missing (W-1)", {"framework_type": "pytorch"}, "pytorch_image_tag", "value_error"),
    _framework(
        "tensorflow_version is null",
        {"framework_type": "tensorflow", "tensorflow_version": None},
        "tensorflow_version",
        "assertion_error",
    ),
    _framework(
        "tensorflow_version is missing (W-1)", {"framework_type": "tensorflow"}, "tensorflow_version", "value_error"
    ),
    _framework(
        "image_tag is missing (W-1)",
        {"framework_type": "custom_base_image", "ecr_repo": "r"},
        "image_tag",
        "value_error",
    ),
    _framework(
        "ecr_repo is missing (14)", {"framework_type": "custom_base_image", "image_tag": "1"}, "ecr_repo", "value_error"
    ),
    _v1(
        "unknown framework (14)",
        {"env_params": {"framework_type": "jax"}},
        problem(
            "enum",
            ["body", "env_params", "framework_type"],
            "Input should be 'pytorch', 'tensorflow' or 'custom_base_image'",
            "jax",
            {"expected": "'pytorch', 'tensorflow' or 'custom_base_image'"},
        ),
        off=Unchecked(V1, "env_params"),
    ),
    _v1(
        "env_params is an object (W-44)",
        {"env_params": []},
        problem(
            "model_attributes_type",
            ["body", "env_params"],
            "Input should be a valid dictionary or object to extract fields from",
            [],
        ),
        off=Unchecked(V1, "env_params"),
    ),
]

SHAPES = [
    *(
        Row(
            "6.1",
            f"{field} is required",
            "POST",
            "/v1/model-bundles",
            422,
            {
                "detail": [{"type": "missing", "loc": ["body", field], "msg": "Field required", "input": ANY}],
                "code": "invalid_request",
            },
            Unchecked(V1, field),
            changed(V1_BUNDLE, {field: DROP}),
        )
        for field in ("name", "location", "requirements", "env_params", "packaging_type")
    ),
    _v1(
        "packaging types",
        {"packaging_type": "tar"},
        problem(
            "enum",
            ["body", "packaging_type"],
            "Input should be 'cloudpickle', 'zip' or 'lira'",
            "tar",
            {"expected": "'cloudpickle', 'zip' or 'lira'"},
        ),
        off=Unchecked(V1, "packaging_type"),
    ),
    _v1(
        "length of a name (W-34)",
        {"name": "x" * 256},
        problem(
            "string_too_long",
            ["body", "name"],
            "String should have at most 255 characters",
            "x" * 256,
            {"max_length": 255},
        ),
        off=Unchecked(V1, "name"),
    ),
    _v1("a name of 255 characters (W-34)", {"name": "x" * 255}),
    _v1(
        "a number is no text",
        {"name": 1},
        problem("string_type", ["body", "name"], "Input should be a valid string", 1),
        off=Unchecked(V1, "name"),
    ),
    Row(
        "6.1",
        "the body is an object (W-44)",
        "POST",
        "/v1/model-bundles",
        422,
        problem(
            "model_attributes_type", ["body"], "Input should be a valid dictionary or object to extract fields from", []
        ),
        Unchecked(V1),
        [],
    ),
    _v1(
        "names of functions are text",
        {"metadata": {"load_predict_fn": 1}},
        refusal("The user specified an invalid value: metadata.load_predict_fn must be a string", "invalid_metadata"),
        400,
        off=rule_of("bundles", "flavor_of_v1", lambda request: _zip_flavor()),
    ),
    _v1("unknown fields are ignored", {"more": 1}),
    _v1("cloudpickle", {}),
    _v1(
        "zip",
        {
            "packaging_type": "zip",
            "metadata": {"load_predict_fn_module_path": "a.b", "load_model_fn_module_path": "a.c"},
        },
    ),
    _v1("lira", {"packaging_type": "lira"}),
    _v1(
        "images of their own are for the privileged",
        {"env_params": {"framework_type": "custom_base_image", "ecr_repo": "r", "image_tag": "1"}},
        _FORBIDDEN,
        403,
        caller="unprivileged",
        off=_PRIVILEGE,
    ),
    _v1(
        "an uploaded artifact exists and is the caller's",
        {"location": "artifact://art_x"},
        refusal(
            "The specified artifact artifact://art_x could not be found. "
            "Upload the file with POST /v1/artifacts and use the location of its answer.",
            "artifact_not_found",
        ),
        404,
        off=Off("model_engine_gateway.bundles", "Bundles._artifact", no_artifact),
    ),
]


def _zip_flavor() -> Any:
    from model_engine_contracts.api.bundles import ZipArtifactFlavor

    return ZipArtifactFlavor.model_validate(FLAVORS["zip"])


_V1_VIEW: dict[str, Any] = {
    "id": BUNDLE_ID,
    "name": ANY,
    "location": "s3://bucket/key",
    "requirements": ["numpy"],
    "env_params": {
        "framework_type": "pytorch",
        "pytorch_image_tag": "2",
        "tensorflow_version": None,
        "ecr_repo": None,
        "image_tag": None,
    },
    "packaging_type": "cloudpickle",
    "metadata": {},
    "app_config": {"a": 1},
    "created_at": TIME,
    "model_artifact_ids": [],
    "schema_location": "none",
}
_IMAGE_VIEW: dict[str, Any] = {
    **_V1_VIEW,
    "location": "unused",
    "requirements": [],
    "packaging_type": "lira",
    "env_params": {
        "framework_type": "custom_base_image",
        "pytorch_image_tag": None,
        "tensorflow_version": None,
        "ecr_repo": "registry.example.com/echo",
        "image_tag": "1",
    },
    "app_config": None,
}
_RUNNABLE: dict[str, Any] = {
    "predict_route": "/predict",
    "healthcheck_route": "/readyz",
    "env": None,
    "readiness_initial_delay_seconds": 120,
    "extra_routes": [],
    "routes": [],
    "forwarder_type": "default",
    "worker_command": None,
    "worker_env": None,
}


def _v2_view(flavor: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": BUNDLE_ID,
        "name": ANY,
        "metadata": {},
        "created_at": TIME,
        "model_artifact_ids": [],
        "schema_location": "none",
        "flavor": flavor,
    }


def _get(section: str, rule: str, path: str, answer: Any, **more: Any) -> Row:
    return Row(section, rule, "GET", path, more.pop("status", 200), answer, **more)


def _not_found(section: str, version: str) -> list[Row]:
    def gone(key: str) -> Any:
        return refusal(f"Model Bundle {key}  was not found.", "bundle_not_found")

    path = f"/{version}/model-bundles"
    clone = {"original_model_bundle_id": "bun_x"}
    theirs = {"original_model_bundle_id": "<bundle:artifact>"}
    return [
        _get(section, f"{version} unknown id", f"{path}/bun_x", gone("bun_x"), status=404, off=_OWNER),
        _get(
            section,
            f"{version} foreign id",
            f"{path}/<bundle:artifact>",
            gone("<bundle:artifact>"),
            status=404,
            off=_OWNER,
            caller="eve",
        ),
        _get(
            section,
            f"{version} latest of no name",
            f"{path}/latest?model_name=none",
            gone("none"),
            status=404,
            off=Off("model_engine_gateway.repositories.bundles", "BundleRepository.latest", any_bundle),
        ),
        Row(
            section,
            f"{version} clone of nothing",
            "POST",
            f"{path}/clone-with-changes",
            404,
            gone("bun_x"),
            _OWNER,
            clone,
        ),
        Row(
            section,
            f"{version} clone of a foreign one",
            "POST",
            f"{path}/clone-with-changes",
            404,
            gone("<bundle:artifact>"),
            _OWNER,
            theirs,
            "eve",
        ),
        Row(
            section,
            f"{version} clone by the unprivileged",
            "POST",
            f"{path}/clone-with-changes",
            403,
            _FORBIDDEN,
            _PRIVILEGE,
            {"original_model_bundle_id": "<bundle:image>"},
            "unprivileged",
        ),
        Row(
            section,
            f"{version} clone needs its original",
            "POST",
            f"{path}/clone-with-changes",
            422,
            problem("missing", ["body", "original_model_bundle_id"], "Field required", {}),
            Unchecked(f"CloneModelBundle{version.upper()}Request", "original_model_bundle_id"),
            {},
        ),
        _get(
            section,
            f"{version} latest needs a name",
            f"{path}/latest",
            problem("missing", ["query", "model_name"], "Field required", None),
            status=422,
            off=Unchecked("query", "model_name"),
        ),
        _get(
            section,
            f"{version} orders",
            f"{path}?order_by=alphabetical",
            problem(
                "enum",
                ["query", "order_by"],
                "Input should be 'newest' or 'oldest'",
                "alphabetical",
                {"expected": "'newest' or 'oldest'"},
            ),
            status=422,
            off=Unchecked("query", "order_by"),
        ),
        _get(section, f"{version} a foreign list is empty", path, {"model_bundles": []}, caller="eve"),
    ]


def _clone(section: str, version: str, kind: str, config: Any, answer: Any) -> Row:
    """The clone named by `<clone>` is made before the row's request."""
    body = {"original_model_bundle_id": f"<bundle:{kind}>", "new_app_config": config}
    before = (("POST", "/v2/model-bundles/clone-with-changes", body),)
    rule = f"{version} view of a clone of {kind} with {config} (W-23)"
    return _get(section, rule, f"/{version}/model-bundles/<clone>", answer, before=before)


_ARTIFACT = FLAVORS["artifact"]
READS = [
    _get("6.1", "v1 view of an artifact", "/v1/model-bundles/<bundle:artifact>", _V1_VIEW),
    _get("6.1", "v1 view of an image", "/v1/model-bundles/<bundle:image>", _IMAGE_VIEW),
    _get("6.2", "v2 view of an artifact", "/v2/model-bundles/<bundle:artifact>", _v2_view(_ARTIFACT)),
    _get("6.2", "v2 view of a zip", "/v2/model-bundles/<bundle:zip>", _v2_view({**FLAVORS["zip"], "app_config": None})),
    _get("6.2", "v2 view of an image", "/v2/model-bundles/<bundle:image>", _v2_view({**FLAVORS["image"], **_RUNNABLE})),
    _get(
        "6.2",
        "v2 view of a streaming image",
        "/v2/model-bundles/<bundle:streaming>",
        _v2_view({**FLAVORS["streaming"], **_RUNNABLE, "command": [], "streaming_predict_route": "/stream"}),
    ),
    _get(
        "6.2",
        "v2 view of Triton",
        "/v2/model-bundles/<bundle:triton>",
        _v2_view(
            {
                **FLAVORS["triton"],
                **_RUNNABLE,
                "triton_model_replicas": None,
                "triton_readiness_initial_delay_seconds": 300,
            }
        ),
    ),
    _get("6.1", "v1 list by name", "/v1/model-bundles?model_name=rules-image", {"model_bundles": [_IMAGE_VIEW]}),
    _get("6.1", "v1 latest", "/v1/model-bundles/latest?model_name=rules-image", _IMAGE_VIEW),
    _get("6.2", "v2 latest", "/v2/model-bundles/latest?model_name=rules-zip", Holding({"name": "rules-zip"})),
    _get("6.1", "names are filtered exactly", "/v1/model-bundles?model_name=rules", {"model_bundles": []}),
    _clone(
        "6.1",
        "v1",
        "artifact",
        {"b": 2},
        {**_V1_VIEW, "app_config": {"b": 2}, "metadata": {"__cloned_from_bundle_id": BUNDLE_ID}},
    ),
    _clone("6.1", "v1", "artifact", {}, {**_V1_VIEW, "metadata": {"__cloned_from_bundle_id": BUNDLE_ID}}),
    _clone(
        "6.2",
        "v2",
        "artifact",
        {"b": 2},
        {**_v2_view({**_ARTIFACT, "app_config": {"b": 2}}), "metadata": {"__cloned_from_bundle_id": BUNDLE_ID}},
    ),
    _clone("6.2", "v2", "artifact", None, {**_v2_view(_ARTIFACT), "metadata": {"__cloned_from_bundle_id": BUNDLE_ID}}),
    _clone(
        "6.1",
        "v1",
        "image",
        {"b": 2},
        {**_IMAGE_VIEW, "app_config": {"b": 2}, "metadata": {"__cloned_from_bundle_id": BUNDLE_ID}},
    ),
]

_TAGS = (
    "'cloudpickle_artifact', 'zip_artifact', 'runnable_image', 'streaming_enhanced_runnable_image', "
    "'triton_enhanced_runnable_image'"
)
FLAVOR_ROWS = [
    *(_v2(f"flavor {kind}", flavor) for kind, flavor in FLAVORS.items()),
    _v2(
        "unknown flavor",
        {"flavor": "tar"},
        problem(
            "union_tag_invalid",
            ["body", "flavor"],
            f"Input tag 'tar' found using 'flavor' does not match any of the expected tags: {_TAGS}",
            {"flavor": "tar"},
            {"discriminator": "'flavor'", "tag": "tar", "expected_tags": _TAGS},
        ),
        off=Unchecked(V2, "flavor"),
    ),
    _v2(
        "a flavor is named",
        {},
        problem(
            "union_tag_not_found",
            ["body", "flavor"],
            "Unable to extract tag using discriminator 'flavor'",
            {},
            {"discriminator": "'flavor'"},
        ),
        off=Unchecked(V2, "flavor"),
    ),
    *(
        _v2(
            f"{kind} needs {field}",
            changed(FLAVORS[kind], {field: DROP}),
            problem(
                "missing",
                ["body", "flavor", FLAVORS[kind]["flavor"], field],
                "Field required",
                changed(FLAVORS[kind], {field: DROP}),
            ),
            off=Unchecked(V2, "flavor"),
        )
        for kind, fields in {
            "artifact": ("requirements", "framework", "location", "load_predict_fn", "load_model_fn"),
            "zip": ("load_predict_fn_module_path", "load_model_fn_module_path"),
            "image": ("repository", "tag", "command", "protocol"),
            "streaming": ("streaming_command",),
            "triton": ("triton_model_repository", "triton_num_cpu", "triton_commit_tag"),
        }.items()
        for field in fields
    ),
    _v2(
        "protocol is http",
        {**FLAVORS["image"], "protocol": "grpc"},
        problem(
            "literal_error",
            ["body", "flavor", "runnable_image", "protocol"],
            "Input should be 'http'",
            "grpc",
            {"expected": "'http'"},
        ),
        off=Unchecked(V2, "flavor"),
    ),
    _v2("forwarder_type null is default (14)", {**FLAVORS["image"], "forwarder_type": None}),
    _v2("images are for the privileged", FLAVORS["image"], _FORBIDDEN, 403, caller="unprivileged", off=_PRIVILEGE),
    _v2("so is a base image of one's own", FLAVORS["custom"], _FORBIDDEN, 403, caller="unprivileged", off=_PRIVILEGE),
    _v2("artifacts are for everybody", FLAVORS["artifact"], caller="unprivileged"),
    _v2("an image with a registry is not looked up", FLAVORS["image"], section="3.8"),
    _v2("reserved variables pass here", FLAVORS["reserved"]),
]

ROWS = [*FRAMEWORKS, *SHAPES, *READS, *FLAVOR_ROWS, *_not_found("6.1", "v1"), *_not_found("6.2", "v2")]
