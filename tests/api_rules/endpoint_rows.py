"""Rows of sections 6.3 and 6.4: endpoints and the document that describes them."""

from typing import Any
from unittest.mock import ANY

from api_rules.lookups import any_bundle, any_endpoint, nothing_stored
from api_rules.requests import ENDPOINT, GPU, creation, then_read, update
from api_rules.row import CHANGED, DROP, Holding, Like, Off, Row, Unchecked, problem, refusal, rule_of

CREATE, UPDATE = "CreateModelEndpointV1Request", "UpdateModelEndpointV1Request"
FIND = Off("model_engine_gateway.repositories.endpoints", "EndpointRepository.find_owned", any_endpoint)
BUNDLE = Off("model_engine_gateway.repositories.bundles", "BundleRepository.find", any_bundle)
MULTINODE = rule_of("domain.endpoint_changes", "check_multinode")
FLAVOR = rule_of("domain.endpoint_changes", "check_flavor")
TIME = Like(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")


def _incompatible(text: str) -> Any:
    return refusal(text, "incompatible_bundle")


_NO_BUNDLE = refusal("The specified model bundle could not be found.", "bundle_not_found")
_NO_EITHER = refusal("The specified model endpoint or model bundle was not found.", "endpoint_not_found")
_BUSY = refusal("Existing operation on endpoint in progress, try again later.", "deletion_in_progress")
_RESERVED = refusal(
    "_CONVERTED_FROM_ARTIFACT_LIKE is a reserved metadata key and cannot be used by user.", "invalid_metadata"
)
_MANY_NODES = {"nodes_per_worker": 2, "endpoint_type": "streaming", "min_workers": 1, "max_workers": 1}
_NOT_MADE_FOR_IT = _incompatible(
    "Bundle rules-streaming is not multinode compatible. It must be a RunnableImage and have worker_command and "
    "worker_args set."
)
_NOT_STREAMING = _incompatible(
    "Endpoint is not multinode compatible. Only streaming GPU endpoints can be multinode compatible."
)


def _gone(key: str, spaces: str = "  ") -> Any:
    return refusal(f"Model Endpoint {key}{spaces}was not found.", "endpoint_not_found")


def _at(rule: str, method: str, path: str, answer: Any, status: int = 200, **more: Any) -> Row:
    section = more.pop("section", "6.3")
    return Row(section, f"{method} {rule}", method, path, status, answer, **more)


def _required() -> list[Row]:
    fields = ("name", "model_bundle_id", "endpoint_type", "metadata", "cpus", "memory", "storage", "gpus")
    return [
        creation(
            "6.3",
            f"{field} is required",
            {field: DROP},
            problem("missing", ["body", field], "Field required", ANY),
            422,
            Unchecked(CREATE, field),
        )
        for field in (*fields, "min_workers", "max_workers", "per_worker", "labels")
    ]


def _bounds() -> list[Row]:
    rows = []
    for field, value, kind, message, ctx in (
        ("gpus", -1, "greater_than_equal", "Input should be greater than or equal to 0", {"ge": 0}),
        ("nodes_per_worker", 0, "greater_than", "Input should be greater than 0", {"gt": 0}),
        ("concurrent_requests_per_worker", 0, "greater_than", "Input should be greater than 0", {"gt": 0}),
        (
            "queue_message_timeout_seconds",
            43201,
            "less_than_equal",
            "Input should be less than or equal to 43200",
            {"le": 43200},
        ),
        (
            "queue_message_timeout_seconds",
            0,
            "greater_than_equal",
            "Input should be greater than or equal to 1",
            {"ge": 1},
        ),
        ("task_expires_seconds", 0, "greater_than_equal", "Input should be greater than or equal to 1", {"ge": 1}),
    ):
        answer = problem(kind, ["body", field], message, value, ctx)
        rows.append(creation("6.3", f"{field} {value}", {field: value}, answer, 422, Unchecked(CREATE, field)))
    return rows


CREATION = [
    *_required(),
    *_bounds(),
    creation(
        "6.3",
        "length of a name",
        {"name": "x" * 64},
        problem(
            "string_too_long",
            ["body", "name"],
            "String should have at most 63 characters",
            "x" * 64,
            {"max_length": 63},
        ),
        422,
        Unchecked(CREATE, "name"),
    ),
    creation(
        "6.3",
        "form of a name (W-34)",
        {"name": "has space"},
        refusal(
            "Invalid endpoint name 'has space': use letters, digits, '-', '_' and '.', beginning and ending with a "
            "letter or digit",
            "invalid_name",
        ),
        off=rule_of("domain.endpoint_changes", "check_name"),
    ),
    creation(
        "6.3",
        "types",
        {"endpoint_type": "batch"},
        problem(
            "enum",
            ["body", "endpoint_type"],
            "Input should be 'async', 'sync' or 'streaming'",
            "batch",
            {"expected": "'async', 'sync' or 'streaming'"},
        ),
        422,
        Unchecked(CREATE, "endpoint_type"),
    ),
    Row(
        "6.3",
        "create: the body is an object (W-44)",
        "POST",
        "/v1/model-endpoints",
        422,
        problem(
            "model_attributes_type",
            ["body"],
            "Input should be a valid dictionary or object to extract fields from",
            "x",
        ),
        Unchecked(CREATE),
        "x",
    ),
    creation("6.3", "accepted", {}),
    creation("6.3", "numbers may be texts", {"min_workers": "1", "gpus": "0"}),
    creation("6.3", "unknown fields are ignored", {"more": 1}),
    creation(
        "6.3",
        "explicit nulls",
        dict.fromkeys(
            [
                "post_inference_hooks",
                "gpu_type",
                "optimize_costs",
                "concurrent_requests_per_worker",
                "forwarder_max_concurrency",
                "prewarm",
                "high_priority",
                "billing_tags",
                "default_callback_url",
                "default_callback_auth",
                "public_inference",
                "queue_message_timeout_seconds",
                "task_expires_seconds",
            ]
        ),
    ),
    creation("6.3", "unknown bundle", {"model_bundle_id": "bun_x"}, _NO_BUNDLE, 404, BUNDLE),
    creation("6.3", "foreign bundle", {}, _NO_BUNDLE, 404, BUNDLE, caller="eve"),
    creation(
        "6.3",
        "order: labels before the bundle",
        {"labels": {}, "model_bundle_id": "bun_x"},
        refusal("Missing label 'team' in labels. These are all required: {'product', 'team'}", "invalid_labels"),
        off=rule_of("domain.endpoint_changes", "check_labels"),
    ),
    creation(
        "6.3",
        "order: billing tags before hooks",
        {"billing_tags": {}, "post_inference_hooks": ["x"]},
        Holding({"code": "invalid_billing_tags"}),
        off=rule_of("domain.endpoint_changes", "check_billing_tags"),
    ),
    creation(
        "6.3",
        "several nodes need a bundle",
        {**_MANY_NODES, **GPU, "model_bundle_id": "<bundle:streaming>"},
        _NOT_MADE_FOR_IT,
        off=MULTINODE,
    ),
    creation(
        "6.3",
        "several nodes need streaming",
        {**_MANY_NODES, **GPU, "endpoint_type": "sync", "model_bundle_id": "<bundle:multinode>"},
        _NOT_STREAMING,
        off=MULTINODE,
    ),
    creation(
        "6.3",
        "several nodes need GPUs",
        {**_MANY_NODES, "model_bundle_id": "<bundle:multinode>"},
        _NOT_STREAMING,
        off=MULTINODE,
    ),
    creation(
        "6.3",
        "several nodes are of a fixed number (13)",
        {**_MANY_NODES, **GPU, "model_bundle_id": "<bundle:multinode>", "min_workers": 0},
        _incompatible("Endpoint is not multinode compatible. min_workers=0 and max_workers=1 must be equal."),
        off=MULTINODE,
    ),
    creation("6.3", "several nodes", {**_MANY_NODES, **GPU, "model_bundle_id": "<bundle:multinode>"}),
    creation(
        "6.3",
        "streams need a streaming image",
        {"endpoint_type": "streaming", "model_bundle_id": "<bundle:image>"},
        _incompatible("Cannot create a streaming endpoint for a non-streaming model bundle."),
        off=FLAVOR,
    ),
    creation("6.3", "artifacts may stream (14)", {"endpoint_type": "streaming"}),
    creation(
        "6.3",
        "streams are one per worker",
        {"endpoint_type": "streaming", "per_worker": 2},
        _incompatible("Cannot create a streaming endpoint with per_worker != 1."),
        off=FLAVOR,
    ),
    creation(
        "6.3",
        "a streaming image without a command",
        {"model_bundle_id": "<bundle:streaming>"},
        _incompatible("Cannot create a non-streaming endpoint with no bundle command."),
        off=FLAVOR,
    ),
    creation("6.3", "a streaming image with a command", {"model_bundle_id": "<bundle:both>"}),
    creation(
        "6.2",
        "reserved variables (13)",
        {"model_bundle_id": "<bundle:reserved>"},
        _incompatible("The bundle sets environment variables that the platform reserves: DD_ENV, HTTP_PORT."),
        off=FLAVOR,
    ),
    creation(
        "6.3",
        "reserved metadata",
        {"metadata": {"_CONVERTED_FROM_ARTIFACT_LIKE": 1}},
        _RESERVED,
        off=rule_of("domain.endpoint_changes", "check_metadata"),
    ),
    creation(
        "6.3",
        "order: metadata before resources",
        {"metadata": {"_CONVERTED_FROM_ARTIFACT_LIKE": 1}, "cpus": "?"},
        _RESERVED,
        off=rule_of("domain.endpoint_changes", "check_metadata"),
    ),
    Row(
        "6.3",
        "create: the name is taken",
        "POST",
        "/v1/model-endpoints",
        400,
        refusal("The specified model endpoint already exists.", "endpoint_exists"),
        Off("model_engine_gateway.repositories.endpoints", "EndpointRepository.insert", nothing_stored),
        ENDPOINT,
        before=(("POST", "/v1/model-endpoints", ENDPOINT),),
    ),
]

UPDATES = [
    update("6.3", "nothing", {}),
    update("6.3", "all null", dict.fromkeys(["cpus", "labels", "metadata", "max_workers", "model_bundle_id"])),
    update("6.3", "name, type and nodes are ignored", {"name": 1, "endpoint_type": 2, "nodes_per_worker": "x"}),
    Row("6.3", "update: unknown", "PUT", "/v1/model-endpoints/end_x", 404, _NO_EITHER, FIND, {}),
    update("6.3", "foreign", {}, _NO_EITHER, 404, FIND, caller="eve"),
    update("6.3", "unknown bundle", {"model_bundle_id": "bun_x"}, _NO_EITHER, 404, BUNDLE),
    Row("6.3", "update: while deleted (W-13)", "PUT", "/v1/model-endpoints/<endpoint:deleting>", 409, _BUSY, FIND, {}),
    Row(
        "6.3",
        "update: before the first build (14)",
        "PUT",
        "/v1/model-endpoints/<endpoint:new>",
        200,
        CHANGED,
        body={"max_workers": 3},
    ),
    update(
        "6.3",
        "several nodes are of a fixed number (13)",
        {"min_workers": 0},
        _incompatible("Endpoint is not multinode compatible. min_workers=0 and max_workers=1 must be equal."),
        off=MULTINODE,
        kind="multinode",
    ),
    update(
        "6.3",
        "the new bundle fits the type (13)",
        {"model_bundle_id": "<bundle:image>"},
        _incompatible("Cannot create a streaming endpoint for a non-streaming model bundle."),
        off=FLAVOR,
        kind="streaming",
    ),
    update(
        "6.3",
        "reserved metadata",
        {"metadata": {"_CONVERTED_FROM_ARTIFACT_LIKE": 1}},
        _RESERVED,
        off=rule_of("domain.endpoint_changes", "check_metadata"),
    ),
    *(
        update(
            "6.3", f"order: {rule} (14)", change, Holding({"code": code}), off=rule_of("domain.endpoint_changes", check)
        )
        for rule, change, code, check in (
            ("labels before billing tags", {"labels": {}, "billing_tags": {}}, "invalid_labels", "check_labels"),
            (
                "billing tags before hooks",
                {"billing_tags": {}, "post_inference_hooks": ["x"]},
                "invalid_billing_tags",
                "check_billing_tags",
            ),
            (
                "hooks before the bundle",
                {"post_inference_hooks": ["x"], "model_bundle_id": "bun_x"},
                "invalid_hooks",
                "check_hooks",
            ),
            ("resources before workers", {"cpus": "?", "max_workers": 251}, "invalid_resources", "check_resources"),
            (
                "workers before metadata",
                {"max_workers": 251, "metadata": {"_CONVERTED_FROM_ARTIFACT_LIKE": 1}},
                "invalid_workers",
                "check_workers",
            ),
        )
    ),
    update(
        "6.3",
        "order: the bundle before resources (14)",
        {"model_bundle_id": "bun_x", "cpus": "?"},
        _NO_EITHER,
        404,
        BUNDLE,
    ),
    update(
        "6.3",
        "order: workers before concurrency (14)",
        {"max_workers": 251, "concurrent_requests_per_worker": 21},
        Holding({"code": "invalid_workers"}),
        off=rule_of("domain.endpoint_changes", "check_workers"),
        kind="async",
    ),
    update(
        "6.3",
        "order: concurrency before metadata (14)",
        {"concurrent_requests_per_worker": 21, "metadata": {"_CONVERTED_FROM_ARTIFACT_LIKE": 1}},
        Holding({"code": "invalid_concurrency"}),
        off=rule_of("domain.endpoint_changes", "check_concurrency"),
        kind="async",
    ),
    then_read("6.3", "metadata is replaced", {"metadata": {"b": 1}}, Holding({"metadata": {"b": 1}})),
    then_read(
        "6.3",
        "but not what the platform keeps there",
        {"metadata": {"b": 1}},
        Holding({"metadata": {"b": 1, "_llm": {"model_name": "m"}}}),
        kind="llm",
    ),
    then_read("6.3", "false is a value", {"public_inference": True}, Holding({"public_inference": True})),
    then_read(
        "6.3",
        "merged with what is desired, not with what runs",
        {"min_workers": 0, "max_workers": 9},
        Holding({"deployment_state": Holding({"max_workers": 9, "per_worker": 1}), "status": ANY}),
    ),
]

_UNBUILT: dict[str, Any] = {
    "id": "<endpoint:new>",
    "name": ANY,
    "endpoint_type": "sync",
    "destination": "UNKNOWN",
    "deployment_name": None,
    "metadata": {},
    "bundle_name": "rules-artifact",
    "status": "UPDATE_PENDING",
    "status_reason": None,
    "post_inference_hooks": [],
    "default_callback_url": None,
    "default_callback_auth": None,
    "labels": None,
    "aws_role": None,
    "results_s3_bucket": None,
    "created_by": "ada",
    "created_at": TIME,
    "last_updated_at": TIME,
    "deployment_state": None,
    "resource_state": None,
    "num_queued_items": None,
    "public_inference": False,
    "task_expires_seconds": None,
    "queue_message_timeout_seconds": None,
}
_BUILT: dict[str, Any] = {
    **_UNBUILT,
    "id": "<endpoint:built>",
    "destination": Like("launch-endpoint-id-end-[0-9a-v]{20}"),
    "deployment_name": Like("launch-endpoint-id-end-[0-9a-v]{20}"),
    "status": "READY",
    "post_inference_hooks": None,
    "labels": {"team": "t", "product": "p"},
    "deployment_state": {
        "min_workers": 0,
        "max_workers": 2,
        "per_worker": 1,
        "concurrent_requests_per_worker": 1,
        "forwarder_max_concurrency": None,
        "available_workers": 1,
        "unavailable_workers": 0,
    },
    "resource_state": {
        "cpus": "1",
        "gpus": 0,
        "memory": "1Gi",
        "gpu_type": None,
        "storage": "1Gi",
        "nodes_per_worker": 1,
        "optimize_costs": False,
    },
}


def _named(*names: str) -> Any:
    return {"model_endpoints": [Holding({"name": name}) for name in names]}


def _three(section: str, order: str, *expected: str) -> Row:
    before = tuple(
        ("POST", "/v1/model-endpoints", {**ENDPOINT, "name": f"{letter}-<name>"}) for letter in ("b", "c", "a")
    )
    path = f"/v1/model-endpoints?order_by={order}"
    names = [f"{letter}-<name>" for letter in expected]
    return Row(section, f"list: {order}", "GET", path, 200, _named(*names), before=before, caller="<owner>")


READS = [
    _at("before the first build", "GET", "/v1/model-endpoints/<endpoint:new>", _UNBUILT),
    _at("once a worker answers", "GET", "/v1/model-endpoints/<endpoint:built>", _BUILT),
    _at("unknown", "GET", "/v1/model-endpoints/end_x", _gone("end_x"), 404, off=FIND),
    _at(
        "foreign, although public",
        "GET",
        "/v1/model-endpoints/<endpoint:public>",
        _gone("<endpoint:public>"),
        404,
        off=FIND,
        caller="eve",
    ),
    _at("list by name", "GET", "/v1/model-endpoints?name=nothing", {"model_endpoints": []}),
    _at("a foreign list", "GET", "/v1/model-endpoints", {"model_endpoints": []}, caller="eve"),
    _three("6.3", "oldest", "b", "c", "a"),
    _three("6.3", "newest", "a", "c", "b"),
    _three("6.3", "alphabetical", "a", "b", "c"),
    _at(
        "orders",
        "GET",
        "/v1/model-endpoints?order_by=size",
        problem(
            "enum",
            ["query", "order_by"],
            "Input should be 'newest', 'oldest' or 'alphabetical'",
            "size",
            {"expected": "'newest', 'oldest' or 'alphabetical'"},
        ),
        422,
        off=Unchecked("query", "order_by"),
    ),
    _at("gone", "DELETE", "/v1/model-endpoints/<endpoint:new>", {"deleted": True}),
    _at(
        "while it is built",
        "DELETE",
        "/v1/model-endpoints/<endpoint:built>",
        {"deleted": True},
        before=(("PUT", "/v1/model-endpoints/<endpoint:built>", {}),),
    ),
    _at("unknown", "DELETE", "/v1/model-endpoints/end_x", _gone("end_x"), 404, off=FIND),
    _at(
        "foreign", "DELETE", "/v1/model-endpoints/<endpoint:new>", _gone("<endpoint:new>"), 404, off=FIND, caller="eve"
    ),
    _at(
        "a second time",
        "DELETE",
        "/v1/model-endpoints/<endpoint:new>",
        _gone("<endpoint:new>"),
        404,
        off=FIND,
        before=(("DELETE", "/v1/model-endpoints/<endpoint:new>", None),),
    ),
    _at("workers are replaced", "POST", "/v1/model-endpoints/<endpoint:built>/restart", {"restarted": True}),
    _at("unknown", "POST", "/v1/model-endpoints/end_x/restart", _gone("end_x", " "), 404, off=FIND),
    _at(
        "foreign",
        "POST",
        "/v1/model-endpoints/<endpoint:built>/restart",
        _gone("<endpoint:built>", " "),
        404,
        off=FIND,
        caller="eve",
    ),
    _at(
        "several nodes",
        "POST",
        "/v1/model-endpoints/<endpoint:multinode>/restart",
        refusal("Restarting model endpoint <endpoint:multinode> is not supported", "restart_unsupported"),
        400,
        off=rule_of("endpoints", "check_restart"),
    ),
    _at(
        "nothing to restart (W-1)",
        "POST",
        "/v1/model-endpoints/<endpoint:new>/restart",
        refusal("Model endpoint <endpoint:new> has no workers to restart yet.", "nothing_to_restart"),
        400,
        off=rule_of("endpoints", "check_restart"),
    ),
]

_RESTORE = rule_of("endpoints", "revision_to_restore", lambda document, generation: document.revisions[0])
_ROLLBACK = "/v1/model-endpoints/<endpoint:new>/rollback"
_EDITS = tuple(("PUT", "/v1/model-endpoints/<endpoint:new>", {"max_workers": count}) for count in (3, 4))


def _back(rule: str, body: Any, generation: int, restored: int) -> Row:
    answer = {**CHANGED, "generation": generation, "rolled_back_to": restored}
    return _at(f"rollback {rule}", "POST", _ROLLBACK, answer, body=body, before=_EDITS)


REVISIONS = [
    _at(
        "revisions, newest first",
        "GET",
        "/v1/model-endpoints/<endpoint:new>/revisions",
        {
            "revisions": [
                {
                    "generation": generation,
                    "created_at": TIME,
                    "created_by": "ada",
                    "model_bundle_id": "<bundle:artifact>",
                    "bundle_name": "rules-artifact",
                    "current": generation == 3,
                    "serving": False,
                    "changed": ["max_workers"] if generation > 1 else [],
                    "settings": Holding({"max_workers": generation + 1, "cpus": "1", "metadata": {}}),
                }
                for generation in (3, 2, 1)
            ]
        },
        before=_EDITS,
    ),
    _back("to the last", None, 4, 2),
    _back("to one", {"generation": 1}, 4, 1),
    _at("revisions, unknown", "GET", "/v1/model-endpoints/end_x/revisions", _gone("end_x"), 404, off=FIND),
    _at(
        "revisions, foreign",
        "GET",
        "/v1/model-endpoints/<endpoint:new>/revisions",
        _gone("<endpoint:new>"),
        404,
        off=FIND,
        caller="eve",
    ),
    _at("rollback, foreign", "POST", _ROLLBACK, _gone("<endpoint:new>"), 404, off=FIND, caller="eve", before=()),
    _at(
        "rollback without a past",
        "POST",
        _ROLLBACK,
        refusal("Model endpoint <endpoint:new> keeps no earlier revision to roll back to.", "nothing_to_restore"),
        400,
        off=_RESTORE,
    ),
    _at(
        "rollback to what is",
        "POST",
        _ROLLBACK,
        refusal("Generation 1 of model endpoint <endpoint:new> is what it asks for already.", "nothing_to_restore"),
        400,
        off=_RESTORE,
        body={"generation": 1},
    ),
    _at(
        "rollback to what is not kept",
        "POST",
        _ROLLBACK,
        refusal(
            "Model endpoint <endpoint:new> keeps no revision of generation 9, only of 1, 2, 3.", "revision_not_found"
        ),
        404,
        off=_RESTORE,
        body={"generation": 9},
        before=_EDITS,
    ),
    _at(
        "rollback while deleted",
        "POST",
        "/v1/model-endpoints/<endpoint:deleting>/rollback",
        _BUSY,
        409,
        off=FIND,
        body={"generation": 1},
    ),
    _at(
        "rollback to a number",
        "POST",
        _ROLLBACK,
        problem(
            "greater_than_equal", ["body", "generation"], "Input should be greater than or equal to 1", 0, {"ge": 1}
        ),
        422,
        off=Unchecked("RollbackModelEndpointV1Request", "generation"),
        body={"generation": 0},
    ),
]


def _described(kind: str, route: str) -> Row:
    body = {**ENDPOINT, "endpoint_type": kind}
    return Row(
        "6.4",
        f"{kind} endpoints under {route} (W-26)",
        "GET",
        "/v1/model-endpoints-schema.json",
        200,
        Holding(
            {
                "openapi": "3.0.2",
                "info": {"title": "Launch Endpoints API Reference", "version": "1.0.0"},
                "paths": Route(route),
            }
        ),
        before=(("POST", "/v1/model-endpoints", body),),
        caller="<owner>",
    )


class Route:
    """Equal to paths with one operation of a route."""

    def __init__(self, route: str) -> None:
        self.route = route

    def __eq__(self, other: object) -> bool:
        paths = list(other) if isinstance(other, dict) else []
        pattern = Like(rf"/v1/{self.route}-tasks\?model_endpoint_id=end_[0-9a-v]{{20}}")
        return len(paths) == 1 and pattern == paths[0]

    def __hash__(self) -> int:
        return hash(self.route)


DOCUMENTS = [
    _described("sync", "sync"),
    _described("async", "async"),
    _described("streaming", "streaming"),
    Row(
        "6.4",
        "nothing of others",
        "GET",
        "/v1/model-endpoints-schema.json",
        200,
        Holding({"paths": {}}),
        caller="eve",
    ),
    Row(
        "6.4",
        "the page",
        "GET",
        "/v1/model-endpoints-api",
        200,
        Like(r"(?s).*<title>Model Endpoints Documentation</title>.*/v1/model-endpoints-schema\.json.*"),
    ),
]

ROWS = [*CREATION, *UPDATES, *READS, *REVISIONS, *DOCUMENTS]
