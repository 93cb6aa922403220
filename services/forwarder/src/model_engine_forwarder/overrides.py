"""`--set a.b.c=value`: dotted overrides of the configuration document, with typed values."""

import ast
import re
from collections.abc import Iterable
from typing import Any

from model_engine_forwarder.errors import ConfigError

_INTEGER = re.compile(r"-?[0-9]+").fullmatch
_NUMBER = re.compile(r"-?[0-9]+\.[0-9]+").fullmatch
_WORDS = {"true": True, "false": False, "null": None, "none": None}
_LITERAL_STARTS = ("[", "{", "(", "'", '"')


def parse_value(text: str) -> Any:
    """The typed value of an override: number, true/false, null, Python literal (list, map, quoted text), else text.

    Raises ConfigError for a literal that does not end.
    """
    if _INTEGER(text):
        return int(text)
    if _NUMBER(text):
        return float(text)
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if text.startswith(_LITERAL_STARTS):
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError) as error:
            raise ConfigError(f"--set: {text} is not a valid list, map or quoted text: {error}") from error
    return text


def apply_overrides(document: dict[str, Any], overrides: Iterable[str]) -> None:
    """Set each `a.b.c=value` in `document`, in order, making maps on the way. Raises ConfigError."""
    for override in overrides:
        path, equals, value = override.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            raise ConfigError(f"--set {override}: write key.path=value")
        place = document
        for key in keys[:-1]:
            if place.get(key) is None:
                place[key] = {}
            place = place[key]
            if not isinstance(place, dict):
                raise ConfigError(f"--set {override}: {key} is a value, not a block")
        place[keys[-1]] = parse_value(value.strip())
