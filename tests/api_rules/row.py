"""A row of the table: one request, its whole answer, and the code that makes it so."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

DROP = object()
"""A field with this value is left out of the body."""


@dataclass(frozen=True, slots=True)
class Off:
    """How a row's validator is switched off: the attribute of a module or class, and what takes its place."""

    module: str
    attribute: str
    instead: Callable[..., Any] = lambda *args, **kwargs: None


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A field that the request's model takes as it comes; without a field the whole request does."""

    model: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Like:
    """Equal to every text that matches a pattern."""

    pattern: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and re.fullmatch(self.pattern, other) is not None

    def __hash__(self) -> int:
        return hash(self.pattern)


@dataclass(frozen=True, slots=True)
class Holding:
    """Equal to every object with these members, whatever else it has."""

    members: dict[str, Any]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and all(key in other and other[key] == v for key, v in self.members.items())

    def __hash__(self) -> int:
        return id(self)


@dataclass(frozen=True, slots=True)
class Row:
    """`method path` is called with `body` by `caller`; `before` are calls whose answer is 200.

    `<bundle:KIND>` and `<endpoint:KIND>` stand for ids of what the test makes, `<name>` for an unused name.
    """

    section: str
    rule: str
    method: str
    path: str
    status: int
    answer: Any
    off: Off | Unchecked | None = None
    body: Any = None
    caller: str = "ada"
    before: tuple[tuple[str, str, Any], ...] = ()

    @property
    def id(self) -> str:
        """The name of the row's test."""
        return f"{self.section} {self.rule}"


def refusal(detail: str, code: str) -> dict[str, Any]:
    """The body of a handled error."""
    return {"detail": detail, "code": code}


def problem(kind: str, loc: list[Any], message: str, given: Any, ctx: dict[str, Any] | None = None) -> dict[str, Any]:
    """The body of a 422 with one problem."""
    found = {"type": kind, "loc": loc, "msg": message, "input": given}
    return {"detail": [found if ctx is None else {**found, "ctx": ctx}], "code": "invalid_request"}


def rule_of(module: str, name: str, instead: Callable[..., Any] | None = None) -> Off:
    """Switches off a function of the gateway's module."""
    attribute = Off(f"model_engine_gateway.{module}", name)
    return attribute if instead is None else Off(attribute.module, name, instead)


CHANGED: Any = {"endpoint_creation_task_id": Like("[0-9a-f-]{36}")}
BUNDLE_MADE: Any = {"model_bundle_id": Like("bun_[0-9a-v]{20}")}
