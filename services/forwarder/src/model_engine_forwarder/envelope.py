"""The request envelope and the result around the model server's answer: pure functions over bytes."""

import json
from typing import Any, Final

from model_engine_forwarder.json_bytes import NotJson, decode, encode

_TEXT_FIELDS: Final = ("url", "cloudpickle", "callback_url", "destination_path")
_AUTH_FIELDS: Final = {"basic": ("username", "password"), "mtls": ("cert", "key")}
_FLAG: Final = "serialize_results_as_string"
_BOOLEANS: Final = {
    **dict.fromkeys((True, "1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys((False, "0", "false", "f", "no", "n", "off"), False),
}


class EnvelopeError(ValueError):
    """The request is not an envelope. `problem` is one item of a 422 answer: type, loc, msg."""

    def __init__(self, kind: str, location: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.problem = {"type": kind, "loc": ["body", *location], "msg": message}


class Envelope:
    """One request: its seven fields, each checked, null where the caller gave none."""

    __slots__ = ("_fields", "args")

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields
        self.args = fields.get("args")

    @property
    def wants_upload(self) -> bool:
        """Whether the answer is to be stored as a pickle."""
        return bool(self._fields.get("return_pickled")) or self._fields.get("cloudpickle") is not None

    def model_request(self, unwrap: bool) -> bytes:
        """What the model server receives: the value of `args`, or the whole envelope with its nulls.

        Raises EnvelopeError where unwrapping finds no object, list or text in `args`.
        """
        if unwrap:
            if not isinstance(self.args, (dict, list, str)):
                if self.args is None:
                    raise EnvelopeError("missing", ("args",), "Field required")
                raise EnvelopeError("value_error", ("args",), "Input should be an object, a list or a string")
            return _encode(self.args)
        given = self._fields.get
        return _encode(
            {
                "url": given("url"),
                "args": self.args,
                "cloudpickle": given("cloudpickle"),
                "callback_url": given("callback_url"),
                "callback_auth": given("callback_auth"),
                "return_pickled": given("return_pickled", False),
                "destination_path": given("destination_path"),
            }
        )

    def result_as_text(self, default: bool) -> bool:
        """Whether the result is returned as JSON text: by the flag inside `args` if there is one, else `default`."""
        if isinstance(self.args, dict) and _FLAG in self.args:
            return bool(self.args[_FLAG])
        return default


def read_envelope(raw: bytes) -> Envelope:
    """Read and check a request body. Raises EnvelopeError that names the field."""
    try:
        fields = decode(raw, constants=True)
    except NotJson as error:
        if not raw.strip():
            raise EnvelopeError("missing", (), "Field required") from error
        raise EnvelopeError("json_invalid", (error.position,), f"JSON decode error: {error}") from error
    if not isinstance(fields, dict):
        raise EnvelopeError("model_attributes_type", (), "Input should be a valid dictionary or object")
    for name in _TEXT_FIELDS:
        if not isinstance(fields.get(name, ""), (str, type(None))):
            raise EnvelopeError("string_type", (name,), "Input should be a valid string")
    if "return_pickled" in fields:
        fields["return_pickled"] = _boolean("return_pickled", fields["return_pickled"])
    if fields.get("callback_auth") is not None:
        _check_auth(fields["callback_auth"])
    return Envelope(fields)


def _encode(value: Any) -> bytes:
    try:
        return encode(value)
    except RecursionError as error:
        raise EnvelopeError("recursion_loop", ("args",), "Input is nested too deeply") from error


def _boolean(name: str, value: Any) -> bool:
    word = value.lower() if isinstance(value, str) else value
    if not isinstance(word, (str, int, float)) or word not in _BOOLEANS:
        raise EnvelopeError("bool_type", (name,), "Input should be a valid boolean")
    return _BOOLEANS[word]


def _check_auth(auth: Any) -> None:
    kind = auth.get("kind") if isinstance(auth, dict) else None
    if not isinstance(kind, str) or kind not in _AUTH_FIELDS:
        message = "Input should be an object whose kind is basic or mtls"
        raise EnvelopeError("union_tag_invalid", ("callback_auth",), message)
    for name in _AUTH_FIELDS[kind]:
        if not isinstance(auth.get(name), str):
            raise EnvelopeError("string_type", ("callback_auth", kind, name), "Input should be a valid string")


def wrap_result(answer: bytes, *, as_text: bool, status: int | None = None) -> bytes:
    """`{"result": …}` around an answer, as JSON text or as JSON, with `status_code` where `status` is given.

    The text form is what `json.dumps` writes by default: ", " and ": " as separators, ASCII only, NaN as a word. In the
    other form the bytes of the answer are taken over as they are. An empty answer is null. Raises NotJson.
    """
    result = _as_text(answer) if as_text else plain_json(answer)
    return b'{"result":%b}' % result if status is None else b'{"result":%b,"status_code":%d}' % (result, status)


def plain_json(answer: bytes) -> bytes:
    """An answer as it is, without blanks around it, null when it is empty. Raises NotJson."""
    answer = answer.strip()
    if not answer:
        return b"null"
    decode(answer, constants=False)
    return answer


def _as_text(answer: bytes) -> bytes:
    value = decode(answer, constants=True) if answer.strip() else None
    try:
        return json.dumps(json.dumps(value)).encode()
    except RecursionError as error:
        raise NotJson("it is nested too deeply") from error
