"""Unwrapping and wrapping, byte for byte."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_engine_forwarder.envelope import EnvelopeError, plain_json, read_envelope, wrap_result
from model_engine_forwarder.json_bytes import NotJson, decode, encode, is_json


@pytest.mark.parametrize(
    ("request_body", "model_body"),
    [
        (b'{"args":{"a":1}}', b'{"a":1}'),
        (b'{"args": {"b": 1, "a": 2}, "timeout_seconds": 10, "num_retries": 8}', b'{"b":1,"a":2}'),
        (b'{"args":[1,2]}', b"[1,2]"),
        (b'{"args":"s"}', b'"s"'),
        (b'{"args":{"n":123456789012345678901234567890}}', b'{"n":123456789012345678901234567890}'),
        (b'{"args":{"t":"\\ud800"}}', b'{"t":"\\ud800"}'),
        (b'{"args":[NaN,Infinity,-Infinity,1.5]}', b"[null,null,null,1.5]"),
        ('{"args":{"t":"é"}}'.encode(), '{"t":"é"}'.encode()),
        (b'\xef\xbb\xbf{"args":[]}', b"[]"),
        (b'{"args":{"serialize_results_as_string":false}}', b'{"serialize_results_as_string":false}'),
        (b'{"args":"serialize_results_as_string"}', b'"serialize_results_as_string"'),
        (b'{"args":["serialize_results_as_string"]}', b'["serialize_results_as_string"]'),
    ],
)
def test_unwrapped(request_body: bytes, model_body: bytes) -> None:
    assert read_envelope(request_body).model_request(unwrap=True) == model_body


def test_whole_envelope_has_every_key() -> None:
    body = read_envelope(b'{"args":{"a":1},"return_pickled":"yes","other":1}').model_request(unwrap=False)
    assert body == (
        b'{"url":null,"args":{"a":1},"cloudpickle":null,"callback_url":null,"callback_auth":null,'
        b'"return_pickled":true,"destination_path":null}'
    )
    given_fields = {
        "url": "s3://x",
        "args": None,
        "cloudpickle": "c",
        "callback_url": "u",
        "callback_auth": {"kind": "basic", "username": "u", "password": "p"},
        "return_pickled": False,
        "destination_path": "/x",
    }
    raw = encode(given_fields)
    assert read_envelope(raw).model_request(unwrap=False) == raw


@pytest.mark.parametrize(
    ("request_body", "location"),
    [
        (b"", ["body"]),
        (b"nonsense", ["body", 0]),
        (b'{"args":', ["body", 8]),
        (b"\xff", ["body", 0]),
        (b'{"args":' + b"[" * 100_000, ["body", 0]),
        (b"[]", ["body"]),
        (b'"text"', ["body"]),
        (b"5", ["body"]),
        (b"{}", ["body", "args"]),
        (b'{"args":null}', ["body", "args"]),
        (b'{"args":5}', ["body", "args"]),
        (b'{"args":true}', ["body", "args"]),
        (b'{"url":"s3://x"}', ["body", "args"]),
        (b'{"args":' + b'{"a":' * 900 + b"1" + b"}" * 901, ["body", "args"]),
        (b'{"args":{},"url":5}', ["body", "url"]),
        (b'{"args":{},"callback_url":[]}', ["body", "callback_url"]),
        (b'{"args":{},"return_pickled":"maybe"}', ["body", "return_pickled"]),
        (b'{"args":{},"return_pickled":null}', ["body", "return_pickled"]),
        (b'{"args":{},"callback_auth":{"kind":"none"}}', ["body", "callback_auth"]),
        (b'{"args":{},"callback_auth":"basic"}', ["body", "callback_auth"]),
        (
            b'{"args":{},"callback_auth":{"kind":"basic","username":"u"}}',
            ["body", "callback_auth", "basic", "password"],
        ),
    ],
)
def test_refused_with_the_place_of_the_error(request_body: bytes, location: list) -> None:
    with pytest.raises(EnvelopeError) as caught:
        read_envelope(request_body).model_request(unwrap=True)
    assert caught.value.problem["loc"] == location
    assert caught.value.problem["msg"]


@pytest.mark.parametrize(
    ("args", "default", "as_text"),
    [
        ({"a": 1}, True, True),
        ({"a": 1}, False, False),
        ({"serialize_results_as_string": False}, True, False),
        ({"serialize_results_as_string": True}, False, True),
        ({"serialize_results_as_string": 0}, True, False),
        ({"serialize_results_as_string": None}, True, False),
        (["serialize_results_as_string"], True, True),
        ("serialize_results_as_string", False, False),
    ],
)
def test_flag_inside_args_wins(args: object, default: bool, as_text: bool) -> None:
    assert read_envelope(json.dumps({"args": args}).encode()).result_as_text(default) is as_text


@pytest.mark.parametrize(
    ("answer", "as_text", "status", "wrapped"),
    [
        (b'{"a":1}', True, None, rb'{"result":"{\"a\": 1}"}'),
        (b'{"b":[1,2],"a":null}', True, None, rb'{"result":"{\"b\": [1, 2], \"a\": null}"}'),
        ('{"t":"é😀"}'.encode(), True, None, rb'{"result":"{\"t\": \"\\u00e9\\ud83d\\ude00\"}"}'),
        (b'{"t":"\\ud800"}', True, None, rb'{"result":"{\"t\": \"\\ud800\"}"}'),
        (b"[NaN,1e400,-Infinity]", True, None, b'{"result":"[NaN, Infinity, -Infinity]"}'),
        (b"123456789012345678901234567890", True, None, b'{"result":"123456789012345678901234567890"}'),
        (b"[1.50,1E5,1e-7,1e16]", True, None, b'{"result":"[1.5, 100000.0, 1e-07, 1e+16]"}'),
        (b"", True, None, b'{"result":"null"}'),
        (b'"s"', True, 201, rb'{"result":"\"s\"","status_code":201}'),
        (b'{"a": 1}', False, None, b'{"result":{"a": 1}}'),
        (b' {"a":1}\n', False, 422, b'{"result":{"a":1},"status_code":422}'),
        (b"123456789012345678901234567890", False, None, b'{"result":123456789012345678901234567890}'),
        (b'"\\ud800"', False, None, b'{"result":"\\ud800"}'),
        (b"", False, 204, b'{"result":null,"status_code":204}'),
    ],
)
def test_wrapped(answer: bytes, as_text: bool, status: int | None, wrapped: bytes) -> None:
    assert wrap_result(answer, as_text=as_text, status=status) == wrapped


@pytest.mark.parametrize("answer", [b"nonsense", b"{", b"\xff", b'{"a":1} x', b"[" * 100_000, b"9" * 5000])
@pytest.mark.parametrize("as_text", [True, False])
def test_unreadable_answers(answer: bytes, as_text: bool) -> None:
    with pytest.raises(NotJson):
        wrap_result(answer, as_text=as_text)


@pytest.mark.parametrize("answer", [b"NaN", b'{"a":[Infinity]}'])
def test_constants_cannot_stand_in_json(answer: bytes) -> None:
    with pytest.raises(NotJson, match="is not JSON"):
        wrap_result(answer, as_text=False)
    with pytest.raises(NotJson):
        plain_json(answer)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_any_value_comes_through(value: object) -> None:
    compact = json.dumps(value, separators=(",", ":")).encode()
    assert decode(compact, constants=False) == value
    assert json.loads(encode(value)) == value
    assert is_json(compact)
    text = json.dumps(value)
    assert wrap_result(compact, as_text=True) == json.dumps({"result": text}, separators=(",", ":")).encode()
    assert wrap_result(compact, as_text=False) == b'{"result":' + compact + b"}"


@given(st.binary(max_size=30))
def test_any_bytes_are_judged_like_the_standard_library_does(raw: bytes) -> None:
    try:
        expected = json.loads(raw)
    except ValueError:
        with pytest.raises(NotJson):
            decode(raw, constants=True)
    else:
        assert repr(decode(raw, constants=True)) == repr(expected)
