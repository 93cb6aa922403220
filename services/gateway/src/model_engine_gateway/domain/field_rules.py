"""Rules over single fields of endpoint requests: name, workers, labels, billing tags, hooks, metadata."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from model_engine_contracts.endpoint_states import EndpointType
from model_engine_gateway.domain.invalid import Invalid

REQUIRED_LABELS = ("team", "product")
FORBIDDEN_LABELS = ("user_id", "endpoint_name")
INVALID_TEAM = "_INVALID_TEAM"
BILLING_TAG_KEYS = frozenset({"idempotencyKeyPrefix", "product", "type", "subType", "payee", "payor", "reference"})
HOOKS = ("billing", "callback", "logging")
RESERVED_METADATA_KEY = "_CONVERTED_FROM_ARTIFACT_LIKE"
MAX_WORKERS = 250
MAX_CONCURRENCY_PER_WORKER = 20
MAX_INTEGER = 2**31 - 1
_LABEL_LENGTH = 63

_LABEL_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]")
_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")


def check_name(name: str) -> None:
    """A name must be usable as a label's value, since it becomes one. Its length is part of the request's schema."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"Invalid endpoint name {name!r}: use letters, digits, '-', '_' and '.', "
            "beginning and ending with a letter or digit",
            "invalid_name",
        )


def check_integers(**values: int | None) -> None:
    """No number may be larger than databases and runtimes take."""
    for name, value in values.items():
        if value is not None and value > MAX_INTEGER:
            raise Invalid(f"Requested {name}={value} too high. The maximum is {MAX_INTEGER}", "invalid_number")


def check_workers(min_workers: int, max_workers: int) -> None:
    """Bounds of the worker counts; `max_workers` 0 takes an endpoint out of service, whatever the minimum."""
    if max_workers > MAX_WORKERS:
        raise Invalid(f"Requested max workers {max_workers} too high", "invalid_workers")
    if min_workers > max_workers > 0:
        raise Invalid(
            f"Requested min workers {min_workers} too high: it exceeds max_workers={max_workers}", "invalid_workers"
        )


def check_concurrency(endpoint_type: EndpointType, concurrent_requests_per_worker: int) -> None:
    """An async worker runs a bounded number of tasks at once."""
    if endpoint_type is EndpointType.ASYNC and concurrent_requests_per_worker > MAX_CONCURRENCY_PER_WORKER:
        raise Invalid(
            f"Requested concurrent requests per worker {concurrent_requests_per_worker} too high", "invalid_concurrency"
        )


def check_labels(labels: Mapping[str, str]) -> None:
    """Required and forbidden keys, the team, then the form of every key and value."""
    for key in REQUIRED_LABELS:
        if key not in labels:
            raise Invalid(
                f"Missing label '{key}' in labels. These are all required: {_set(REQUIRED_LABELS)}", "invalid_labels"
            )
    for key in FORBIDDEN_LABELS:
        if key in labels:
            raise Invalid(f"Cannot specify '{key}' in labels", "invalid_labels")
    if labels["team"] == INVALID_TEAM:
        raise Invalid("Invalid team", "invalid_labels")
    for key, value in labels.items():
        if not re.fullmatch(_LABEL_VALUE, value):
            raise Invalid(f"Invalid label value {value}, must match regex {_LABEL_VALUE}", "invalid_labels")
        if len(value) > _LABEL_LENGTH:
            raise Invalid(f"Invalid label value {value}, must be at most {_LABEL_LENGTH} characters", "invalid_labels")
        if not _LABEL_KEY.fullmatch(key):
            raise Invalid(f"Invalid label key {key!r}, must match regex {_LABEL_KEY.pattern}", "invalid_labels")


def check_billing_tags(tags: Mapping[str, Any] | None) -> None:
    """Null, or an object with all keys of the billing system; further keys are allowed."""
    if tags is None:
        return
    if missing := BILLING_TAG_KEYS - tags.keys():
        raise Invalid(f"Missing billing tag keys {_set(sorted(missing))}", "invalid_billing_tags")
    if not all(isinstance(value, str | dict) for value in tags.values()):
        raise Invalid("Billing tags must have string keys and string/dict values", "invalid_billing_tags")


def check_hooks(hooks: Iterable[str] | None) -> None:
    """Only hooks that exist."""
    for hook in hooks or ():
        if hook not in HOOKS:
            raise Invalid(
                f"Unsupported post-inference hook {hook}. The supported hooks are: {list(HOOKS)}", "invalid_hooks"
            )


def check_metadata(metadata: Mapping[str, Any] | None) -> None:
    """The platform's own key is not for users."""
    if RESERVED_METADATA_KEY in (metadata or {}):
        raise Invalid(
            f"{RESERVED_METADATA_KEY} is a reserved metadata key and cannot be used by user.", "invalid_metadata"
        )


def check_text(**values: str | None) -> None:
    """Text that is stored as such must be Unicode: JSON also knows halves of characters."""
    for name, value in values.items():
        try:
            (value or "").encode()
        except UnicodeEncodeError as error:
            raise Invalid(f"{name} is not valid Unicode text: {error.reason}", "invalid_text") from error


def _set(names: Iterable[str]) -> str:
    return "{" + ", ".join(repr(name) for name in sorted(names)) + "}"
