"""What hooks say: the body of a callback, and the records of logging and billing. Pure."""

import json
from datetime import datetime
from typing import Any

from model_engine_gateway.hooks.plan import PlannedHooks

MAX_RECORDED_BYTES = 256 * 1024
"""Longer requests and answers are recorded by their beginning, as text."""


def callback_body(answer: bytes, task_id: str | None, status_code: int | None = None) -> bytes:
    """The worker's answer with the task's id, and the status code where there is one.

    The answer is JSON and is spliced, never encoded again; one that is no object stands under `result`.
    """
    text = answer.strip()
    if not text.startswith(b"{"):
        text = b'{"result":%b}' % (text or b"null")
    parts = [inside] if (inside := text[1:-1].strip()) else []
    if status_code is not None:
        parts.append(b'"status_code":%d' % status_code)
    parts.append(b'"task_id":%b' % json.dumps(task_id).encode())
    return b"{%b}" % b",".join(parts)


def failure_body(error: str | None, traceback: str | None, task_id: str) -> bytes:
    """What is said of a task that failed: what reading it says."""
    fields = {"status": "FAILURE", "result": error, "traceback": traceback, "status_code": None, "task_id": task_id}
    return json.dumps(fields).encode()


def logging_record(hooks: PlannedHooks, body: bytes, emitted_at: datetime) -> dict[str, Any]:
    """Request and response of a call, without its callback credentials."""
    endpoint = hooks.endpoint
    return {
        "EMITTED_AT": emitted_at.strftime("%Y-%m-%dT%H:%M:%S"),
        "REQUEST_BODY": _request(hooks.request or "{}"),
        "RESPONSE_BODY": _shown(body),
        "ENDPOINT_ID": endpoint.endpoint_id,
        "ENDPOINT_NAME": endpoint.endpoint_name,
        "ENDPOINT_TYPE": endpoint.endpoint_type,
        "BUNDLE_ID": endpoint.bundle_id,
        "LABELS": endpoint.labels,
    }


def billing_record(hooks: PlannedHooks, task_id: str | None, emitted_at: datetime) -> dict[str, Any]:
    """That a call was answered, and whose account it is for."""
    endpoint = hooks.endpoint
    return {
        "EMITTED_AT": emitted_at.strftime("%Y-%m-%dT%H:%M:%S"),
        "TASK_ID": task_id,
        "CALLER": hooks.caller,
        "ENDPOINT_ID": endpoint.endpoint_id,
        "ENDPOINT_NAME": endpoint.endpoint_name,
        "ENDPOINT_TYPE": endpoint.endpoint_type,
        "LABELS": endpoint.labels,
        "BILLING_TAGS": json.loads(endpoint.billing_tags_json or "null"),
    }


def _request(text: str) -> str:
    if "callback_auth" not in text:
        return text[:MAX_RECORDED_BYTES]
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return "{}"
    return json.dumps(fields | {"callback_auth": None})[:MAX_RECORDED_BYTES]


def _shown(body: bytes) -> Any:
    if len(body) > MAX_RECORDED_BYTES:
        return body[:MAX_RECORDED_BYTES].decode("utf-8", "replace")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
