"""Rows of sections 3.1 to 3.4 and 3.6: labels, billing tags, hooks, callbacks, worker counts."""

from typing import Any

from api_rules.requests import creation, then_read, update
from api_rules.row import Holding, Row, Unchecked, problem, refusal, rule_of

REGEX = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
LABEL_KEY = "([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]"
BOTH = {"team": "t", "product": "p"}
ALL_TAGS = dict.fromkeys(["idempotencyKeyPrefix", "product", "type", "subType", "payee", "payor", "reference"], "x")
CREATE, UPDATE = "CreateModelEndpointV1Request", "UpdateModelEndpointV1Request"


def _on_both(section: str, rule: str, change: dict[str, Any], answer: Any, check: str) -> list[Row]:
    off = rule_of("domain.endpoint_changes", check)
    return [creation(section, rule, change, answer, off=off), update(section, rule, change, answer, off=off)]


def _labels(rule: str, labels: dict[str, str], text: str) -> list[Row]:
    return _on_both("3.1", rule, {"labels": labels}, refusal(text, "invalid_labels"), "check_labels")


def _tags(rule: str, tags: dict[str, Any], text: str) -> list[Row]:
    return _on_both("3.2", rule, {"billing_tags": tags}, refusal(text, "invalid_billing_tags"), "check_billing_tags")


def _missing(label: str) -> str:
    return f"Missing label '{label}' in labels. These are all required: {{'product', 'team'}}"


LABELS = [
    *_labels("none", {}, _missing("team")),
    *_labels("team before product", {"product": "p"}, _missing("team")),
    *_labels("product", {"team": "t"}, _missing("product")),
    *_labels("user_id is the platform's", {**BOTH, "user_id": "u"}, "Cannot specify 'user_id' in labels"),
    *_labels(
        "endpoint_name is the platform's", {**BOTH, "endpoint_name": "e"}, "Cannot specify 'endpoint_name' in labels"
    ),
    *_labels("invalid team", {**BOTH, "team": "_INVALID_TEAM"}, "Invalid team"),
    *_labels("form of a value", {**BOTH, "a": "b c"}, f"Invalid label value b c, must match regex {REGEX}"),
    *_labels(
        "a value is matched as a whole", {**BOTH, "a": "b\n"}, f"Invalid label value b\n, must match regex {REGEX}"
    ),
    *_labels(
        "length of a value (W-35)",
        {**BOTH, "a": "x" * 64},
        f"Invalid label value {'x' * 64}, must be at most 63 characters",
    ),
    *_labels("form of a key (W-35)", {**BOTH, "a b": "c"}, f"Invalid label key 'a b', must match regex {LABEL_KEY}"),
    creation("3.1", "an empty value passes", {"labels": {**BOTH, "a": ""}}),
    update("3.1", "an empty value passes", {"labels": {**BOTH, "a": ""}}),
    creation(
        "3.1",
        "a value is text",
        {"labels": {**BOTH, "a": 1}},
        problem("string_type", ["body", "labels", "a"], "Input should be a valid string", 1),
        422,
        Unchecked(CREATE, "labels"),
    ),
    then_read("3.1", "labels are merged", {"labels": {**BOTH, "a": "b"}}, Holding({"labels": {**BOTH, "a": "b"}})),
]

TAGS = [
    *_tags(
        "keys",
        {"product": "x"},
        "Missing billing tag keys {'idempotencyKeyPrefix', 'payee', 'payor', 'reference', 'subType', 'type'}",
    ),
    *_tags("values", {**ALL_TAGS, "more": 1}, "Billing tags must have string keys and string/dict values"),
    creation("3.2", "null", {"billing_tags": None}),
    creation("3.2", "further keys", {"billing_tags": {**ALL_TAGS, "more": {"a": 1}}}),
    Row(
        "3.2",
        "they are kept (W-2)",
        "GET",
        "/v1/model-endpoints/<endpoint:new>/revisions",
        200,
        Holding(
            {"revisions": [Holding({"settings": Holding({"billing_tags": ALL_TAGS})}), Holding({"generation": 1})]}
        ),
        before=(("PUT", "/v1/model-endpoints/<endpoint:new>", {"billing_tags": ALL_TAGS}),),
    ),
]

_HOOKS = "Unsupported post-inference hook {}. The supported hooks are: ['billing', 'callback', 'logging']"
HOOKS = [
    *_on_both(
        "3.3",
        "unknown",
        {"post_inference_hooks": ["mail"]},
        refusal(_HOOKS.format("mail"), "invalid_hooks"),
        "check_hooks",
    ),
    *_on_both(
        "3.3",
        "case counts",
        {"post_inference_hooks": ["billing", "Logging"]},
        refusal(_HOOKS.format("Logging"), "invalid_hooks"),
        "check_hooks",
    ),
    creation("3.3", "all three (W-3)", {"post_inference_hooks": ["billing", "callback", "logging"]}),
    then_read(
        "3.3",
        "they are kept",
        {"post_inference_hooks": ["billing", "logging"]},
        Holding({"post_inference_hooks": ["billing", "logging"]}),
    ),
]

_AUTH_KINDS = {"discriminator": "'kind'", "tag": "token", "expected_tags": "'basic', 'mtls'"}
CALLBACKS = [
    creation(
        "3.4",
        "the URL is absolute",
        {"default_callback_url": "nowhere"},
        problem(
            "url_parsing",
            ["body", "default_callback_url"],
            "Input should be a valid URL, relative URL without a base",
            "nowhere",
            {"error": "relative URL without a base"},
        ),
        422,
        Unchecked(CREATE, "default_callback_url"),
    ),
    update(
        "3.4",
        "the URL is of the web",
        {"default_callback_url": "ftp://example.com"},
        problem(
            "url_scheme",
            ["body", "default_callback_url"],
            "URL scheme should be 'http' or 'https'",
            "ftp://example.com",
            {"expected_schemes": "'http' or 'https'"},
        ),
        422,
        Unchecked(UPDATE, "default_callback_url"),
    ),
    creation(
        "3.4",
        "kinds of credentials",
        {"default_callback_auth": {"kind": "token"}},
        problem(
            "union_tag_invalid",
            ["body", "default_callback_auth"],
            "Input tag 'token' found using 'kind' does not match any of the expected tags: 'basic', 'mtls'",
            {"kind": "token"},
            _AUTH_KINDS,
        ),
        422,
        Unchecked(CREATE, "default_callback_auth"),
    ),
    update(
        "3.4",
        "credentials are whole",
        {"default_callback_auth": {"kind": "mtls", "cert": "c"}},
        problem(
            "missing", ["body", "default_callback_auth", "mtls", "key"], "Field required", {"kind": "mtls", "cert": "c"}
        ),
        422,
        Unchecked(UPDATE, "default_callback_auth"),
    ),
    then_read(
        "3.4",
        "the URL is echoed letter for letter",
        {"default_callback_url": "HTTP://example.com"},
        Holding({"default_callback_url": "HTTP://example.com"}),
    ),
    then_read(
        "3.4",
        "secrets are masked (W-18)",
        {},
        Holding({"default_callback_auth": {"kind": "basic", "username": "u", "password": "********"}}),
        kind="callback",
        off=rule_of("domain.endpoint_view", "masked", lambda auth: auth),
    ),
    Row(
        "3.4",
        "sending the mask back keeps the secret (W-18)",
        "GET",
        "/v1/model-endpoints/<endpoint:callback>/revisions",
        200,
        Holding({"revisions": [Holding({"changed": []}), Holding({"generation": 1})]}),
        before=(
            (
                "PUT",
                "/v1/model-endpoints/<endpoint:callback>",
                {"default_callback_auth": {"kind": "basic", "username": "u", "password": "********"}},
            ),
        ),
    ),
]

_WORKERS = rule_of("domain.endpoint_changes", "check_workers")
_CONCURRENCY = rule_of("domain.endpoint_changes", "check_concurrency")
_HUGE = 2**31
WORKERS = [
    *_on_both(
        "3.6",
        "most workers",
        {"max_workers": 251},
        refusal("Requested max workers 251 too high", "invalid_workers"),
        "check_workers",
    ),
    *_on_both(
        "3.6",
        "min above max (W-15)",
        {"min_workers": 3, "max_workers": 2},
        refusal("Requested min workers 3 too high: it exceeds max_workers=2", "invalid_workers"),
        "check_workers",
    ),
    creation("3.6", "250 workers", {"max_workers": 250}),
    creation("3.6", "max 0 takes it out of service (W-15)", {"min_workers": 1, "max_workers": 0}),
    update("3.6", "max 0 takes it out of service (W-15)", {"min_workers": 1, "max_workers": 0}),
    creation(
        "3.6",
        "min is not negative",
        {"min_workers": -1},
        problem(
            "greater_than_equal", ["body", "min_workers"], "Input should be greater than or equal to 0", -1, {"ge": 0}
        ),
        422,
        Unchecked(CREATE, "min_workers"),
    ),
    update(
        "3.6",
        "max is not negative",
        {"max_workers": -1},
        problem(
            "greater_than_equal", ["body", "max_workers"], "Input should be greater than or equal to 0", -1, {"ge": 0}
        ),
        422,
        Unchecked(UPDATE, "max_workers"),
    ),
    creation(
        "3.6",
        "per_worker is positive",
        {"per_worker": 0},
        problem("greater_than", ["body", "per_worker"], "Input should be greater than 0", 0, {"gt": 0}),
        422,
        Unchecked(CREATE, "per_worker"),
    ),
    creation(
        "3.6",
        "forwarder_max_concurrency",
        {"forwarder_max_concurrency": 21},
        problem(
            "less_than_equal",
            ["body", "forwarder_max_concurrency"],
            "Input should be less than or equal to 20",
            21,
            {"le": 20},
        ),
        422,
        Unchecked(CREATE, "forwarder_max_concurrency"),
    ),
    then_read(
        "3.6",
        "forwarder_max_concurrency reads back (W-41)",
        {"forwarder_max_concurrency": 7},
        Holding({"deployment_state": Holding({"forwarder_max_concurrency": 7})}),
    ),
    creation(
        "3.6",
        "concurrency of async workers",
        {"endpoint_type": "async", "concurrent_requests_per_worker": 21},
        refusal("Requested concurrent requests per worker 21 too high", "invalid_concurrency"),
        off=_CONCURRENCY,
    ),
    update(
        "3.6",
        "concurrency of async workers",
        {"concurrent_requests_per_worker": 21},
        refusal("Requested concurrent requests per worker 21 too high", "invalid_concurrency"),
        off=_CONCURRENCY,
        kind="async",
    ),
    creation("3.6", "concurrency of sync workers", {"concurrent_requests_per_worker": 21}),
    Row(
        "3.6",
        "concurrency defaults to per_worker, 20 at most",
        "GET",
        "/v1/model-endpoints/<endpoint:wide>/revisions",
        200,
        Holding({"revisions": [Holding({"settings": Holding({"concurrent_requests_per_worker": 20})})]}),
    ),
    creation(
        "3.6",
        "order: workers, concurrency, labels",
        {"max_workers": 251, "endpoint_type": "async", "concurrent_requests_per_worker": 21, "labels": {}},
        refusal("Requested max workers 251 too high", "invalid_workers"),
        off=_WORKERS,
    ),
    *_on_both(
        "3.6",
        "numbers have a bound",
        {"per_worker": _HUGE, "concurrent_requests_per_worker": 1},
        refusal(f"Requested per_worker={_HUGE} too high. The maximum is {_HUGE - 1}", "invalid_number"),
        "check_integers",
    ),
]

ROWS = [*LABELS, *TAGS, *HOOKS, *CALLBACKS, *WORKERS]
