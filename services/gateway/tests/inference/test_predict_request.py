"""Requests are refused in the very words of the framework that the other routes use, and kept as they came."""

import json
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI, Query

from model_engine_contracts.api.tasks import SyncEndpointPredictV1Request
from model_engine_gateway.errors import ApiError
from model_engine_gateway.inference.predict_request import ASYNC, read_predict_request, target_of

QUERY = b"model_endpoint_id=end_1"
JSON = {b"content-type": b"application/json"}

framework = FastAPI(strict_content_type=False)


@framework.post("/")
def predict(request: SyncEndpointPredictV1Request, model_endpoint_id: Annotated[str, Query()]) -> None:
    """The same request, read by the framework."""


BAD = [
    (QUERY, JSON, b'{"args": '),
    (QUERY, JSON, b"\x00"),
    (QUERY, JSON, b""),
    (QUERY, JSON, b"[1, 2]"),
    (QUERY, JSON, b'"text"'),
    (QUERY, JSON, b"5"),
    (QUERY, JSON, b'{"url": 5}'),
    (QUERY, JSON, b'{"timeout_seconds": 0}'),
    (QUERY, JSON, b'{"timeout_seconds": "soon", "num_retries": -1}'),
    (QUERY, JSON, b'{"num_retries": 1.5}'),
    (QUERY, JSON, b'{"callback_auth": {"kind": "other"}}'),
    (QUERY, JSON, b'{"callback_auth": {"kind": "basic", "username": "u"}}'),
    (QUERY, JSON, b'{"return_pickled": "maybe"}'),
    (QUERY, {b"content-type": b"text/plain"}, b'{"args": 1}'),
    (QUERY, {b"content-type": b"application/x-www-form-urlencoded"}, b"a=b"),
    (b"", JSON, b'{"args": 1}'),
    (b"other=1", JSON, b'{"url": 1}'),
]


@pytest.mark.parametrize(("query", "headers", "body"), BAD)
async def test_the_422_is_the_frameworks(query: bytes, headers: dict[bytes, bytes], body: bytes) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(framework), base_url="http://test") as client:
        theirs = await client.post(f"/?{query.decode()}", content=body, headers=list(headers.items()))
    with pytest.raises(ApiError) as raised:
        read_predict_request(query, headers, body)
    assert theirs.status_code == raised.value.status == 422
    assert json.loads(raised.value.body())["detail"] == theirs.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b' {"args": {"x": [1, 2.50, "\\u00e9"]}, "unknown": null}\n',
        b'{"args": "\\ud800"}',
        b'{"args": ' + b"9" * 400 + b"}",
        b'{"args": ' + b"[" * 150 + b"]" * 150 + b"}",
        b'{"args": 1, "args": 2}',
    ],
)
@pytest.mark.parametrize("content_type", [b"application/json; charset=utf-8", b"application/cloudevents+json", None])
def test_the_body_is_kept_byte_for_byte(body: bytes, content_type: bytes | None) -> None:
    headers = {b"content-type": content_type} if content_type else {}
    assert read_predict_request(QUERY, headers, body).body == body


def test_what_the_gateway_needs_is_read() -> None:
    body = b'{"timeout_seconds": "2.5", "num_retries": 3, "destination_path": "/v1/\xc3\xa9 x?y=%2F"}'
    request = read_predict_request(b"a=1&model_endpoint_id=end%5F9", JSON, body)
    assert request.endpoint_id == "end_9"
    assert (request.timeout_seconds, request.num_retries) == (2.5, 3)
    assert target_of(request, b"/predict") == b"/v1/%C3%A9%20x?y=%2F"


def test_async_tasks_know_no_deadline() -> None:
    request = read_predict_request(QUERY, JSON, b'{"timeout_seconds": "never", "num_retries": -1}', ASYNC)
    assert (request.timeout_seconds, request.num_retries) == (None, None)
    assert target_of(request, b"/predict") == b"/predict"


@pytest.mark.parametrize(
    ("body", "kind", "where"),
    [
        (b'{"destination_path": "predict"}', "value_error", ["body", "destination_path"]),
        (b"null", "missing", ["body"]),
        (b'{"destination_path": "/a#b"}', "value_error", ["body", "destination_path"]),
        (b'{"destination_path": "/\\ud800"}', "value_error", ["body", "destination_path"]),
        (b'{"destination_path": "/a\\r\\nhost: b"}', "value_error", ["body", "destination_path"]),
        (b'{"timeout_seconds": NaN}', "greater_than", ["body", "timeout_seconds"]),
        (b'{"args": "\xff"}', "json_invalid", ["body", 10]),
        (b"[" * 100_000, "json_invalid", ["body", 0]),
        (b"9" * 5000, "json_invalid", ["body", 0]),
    ],
)
def test_no_input_is_too_odd(body: bytes, kind: str, where: list[Any]) -> None:
    with pytest.raises(ApiError) as raised:
        read_predict_request(QUERY, JSON, body)
    problem = json.loads(raised.value.body())["detail"][0]
    assert (problem["type"], problem["loc"]) == (kind, where)
