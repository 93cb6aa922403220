"""What callers read for what workers say."""

import json

import pytest

from model_engine_gateway.errors import ApiError
from model_engine_gateway.inference.answers import failure, success, sync_answer
from model_engine_gateway.inference.json_text import is_json


def test_success_is_spliced_compactly_around_the_workers_bytes() -> None:
    result = b'{"result": "{\\"y\\": 1}"}'
    expected = b'{"status":"SUCCESS","result":{"result": "{\\"y\\": 1}"},"traceback":null,"status_code":200}'
    assert sync_answer(200, result) == expected


@pytest.mark.parametrize(("status", "body", "result"), [(201, b"[1]", b"[1]"), (204, b"", b"null"), (200, b"7", b"7")])
def test_every_2xx_is_a_success(status: int, body: bytes, result: bytes) -> None:
    assert sync_answer(status, body) == success(result, status)


@pytest.mark.parametrize(
    ("body", "traceback"),
    [
        (b'{"detail":{"traceback":"boom"}}', "boom"),
        (json.dumps({"result": json.dumps({"detail": {"traceback": "boom"}})}).encode(), "boom"),
        (b'{"error":"boom"}', '{"error":"boom"}'),
        (json.dumps({"result": '{"error": "boom"}'}).encode(), '{"error": "boom"}'),
        (b'{"detail":["a"]}', '{"detail":["a"]}'),
        (b'{"detail":"text"}', '{"detail":"text"}'),
        (b"plain text \xff", "plain text \ufffd"),
        (b"", ""),
    ],
)
def test_a_failure_keeps_the_traceback_or_the_whole_text(body: bytes, traceback: str) -> None:
    assert json.loads(sync_answer(500, body)) == {
        "status": "FAILURE",
        "result": None,
        "traceback": traceback,
        "status_code": 500,
    }


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"detail": "bad"}', 'Invalid request: {"detail": "bad"}'),
        (json.dumps({"result": '{"detail": "bad"}'}).encode(), 'Invalid request: {"detail": "bad"}'),
        (b"bad", "Invalid request: bad"),
    ],
)
def test_a_400_of_the_worker_is_a_400(body: bytes, detail: str) -> None:
    with pytest.raises(ApiError) as raised:
        sync_answer(400, body)
    assert (raised.value.status, raised.value.detail) == (400, detail)


def test_a_success_that_is_not_json_is_said_so() -> None:
    with pytest.raises(ApiError) as raised:
        sync_answer(200, b"<html>")
    assert (raised.value.status, raised.value.code) == (502, "worker_answer_invalid")


def test_failures_are_ascii_whatever_the_text() -> None:
    assert json.loads(failure("a\ud800\n\u00e9", 500))["traceback"] == "a\ud800\n\u00e9"


@pytest.mark.parametrize("text", [b"{}", b"[1]", b'"x"', b"null", b'{"a":"\\ud800"}', b"1e5"])
def test_json(text: bytes) -> None:
    assert is_json(text)


@pytest.mark.parametrize("text", [b"", b"{", b"{'a':1}", b"nul", b"{}{}", b'"\xff"'])
def test_not_json(text: bytes) -> None:
    assert not is_json(text)
