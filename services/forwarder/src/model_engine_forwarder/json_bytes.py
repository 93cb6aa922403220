"""JSON in and out: orjson where it is exact, the standard library where it is not.

orjson turns integers beyond 64 bits into floats, and refuses lone surrogates and the words NaN and Infinity. Model
servers and their callers use all of these, so whatever orjson refuses or would change goes through `json`.
"""

import json
from typing import Any, Final, NoReturn

import orjson

_DIGITS: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_LONG_NUMBER: Final = b"0" * 19


class NotJson(ValueError):
    """The bytes are no JSON text. `position` is the place of the first error, in characters."""

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.position = position


def decode(raw: bytes, *, constants: bool) -> Any:
    """Decode one JSON text; `constants` allows the words NaN and Infinity. Raises NotJson."""
    if _LONG_NUMBER not in raw.translate(_DIGITS):
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError:
            pass  # `json` decides, and says where the error is
    try:
        return json.loads(raw) if constants else json.loads(raw, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise NotJson(error.msg, error.pos) from error
    except (ValueError, RecursionError) as error:  # not UTF-8, a word that is refused, too long a number, too deep
        raise NotJson(str(error)) from error


def encode(value: Any) -> bytes:
    """Compact JSON. Lone surrogates become escapes, integers of any size stay what they are, NaN becomes null."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(_without_constants(value), separators=(",", ":")).encode()


def is_json(raw: bytes) -> bool:
    """Whether `raw` is one JSON text without the words NaN and Infinity."""
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        try:
            decode(raw, constants=False)
        except NotJson:
            return False
    return True


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _without_constants(value: Any) -> Any:
    """`value` as orjson would write it: NaN and the infinities as null."""
    if isinstance(value, float):
        return value if float("-inf") < value < float("inf") else None
    if isinstance(value, dict):
        return {key: _without_constants(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_constants(item) for item in value]
    return value
