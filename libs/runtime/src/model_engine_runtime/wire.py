"""How the protocol travels over NATS, and how the agent keeps it on disk: JSON, checked on the way in.

Calls are requests to `meagent.<agent>.<call>`, answered with `{"ok": …}` or `{"error": {"kind", "message"}}`. Changes
are published on `meagent.<agent>.watch` with rising numbers; a Heartbeat repeats the last number every two seconds. Who
misses a number, or sees another `incarnation` (the agent has started anew), asks for a snapshot; a snapshot holds
everything up to its number.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from model_engine_runtime.errors import ERRORS, InvalidRequest, RuntimeProtocolError, RuntimeUnavailable
from model_engine_runtime.protocol import Gone, Preparation, SetState

HEARTBEAT_SECONDS = 2.0
SILENCE_SECONDS = 10.0
SNAPSHOT_PART_BYTES = 512 << 10

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Release:
    """Argument of `release`."""

    key: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Arguments of `scale`."""

    endpoint_id: str
    replicas: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Delete:
    """Arguments of `delete`."""

    endpoint_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class LogPosition:
    """How far one log has been read: which run of a worker (0 for a build), and the bytes since its beginning."""

    run: int
    offset: int


@dataclass(frozen=True, slots=True)
class LogRead:
    """Ask for the next piece of a log. `positions` is empty at first, then what the last piece said."""

    id: str
    worker: str | None = None
    previous: bool = False
    follow: bool = False
    positions: dict[str, LogPosition] | None = None


@dataclass(frozen=True, slots=True)
class LogPiece:
    """A bounded piece of a log. After `end` there is no more."""

    text: str
    positions: dict[str, LogPosition]
    end: bool


@dataclass(frozen=True, slots=True)
class Numbered:
    """A message of the watch. Exactly one of the last three is set, none in a heartbeat."""

    incarnation: str
    number: int
    set: SetState | None = None
    preparation: Preparation | None = None
    gone: Gone | None = None


@dataclass(frozen=True, slots=True)
class SnapshotPart:
    """A part of a snapshot: large ones come as several messages, the last with `last`."""

    incarnation: str
    number: int
    installation: str | None
    sets: tuple[SetState, ...]
    preparations: tuple[Preparation, ...]
    last: bool


_adapters: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def subject(agent: str, call: str) -> str:
    """The subject of a call, or of the watch."""
    return f"meagent.{agent}.{call}"


def encode(value: Any) -> bytes:
    """A dataclass of this package as JSON."""
    return _adapter(type(value)).dump_json(value)


def decode(kind: type[T], raw: bytes) -> T:
    """The reverse. Raises InvalidRequest that names each wrong field."""
    try:
        return _adapter(kind).validate_json(raw)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['msg']}" for item in error.errors())
        raise InvalidRequest(f"{kind.__name__}: {problems}") from error


@dataclass(frozen=True, slots=True)
class _Error:
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class _Reply:
    ok: Any = None
    error: _Error | None = None


def encode_ok(value: Any = None) -> bytes:
    """The answer to a call that was taken."""
    return b'{"ok":' + (b"null" if value is None else encode(value)) + b"}"


def encode_error(error: RuntimeProtocolError) -> bytes:
    """The answer to a call that was not."""
    return encode(_Reply(error=_Error(type(error).__name__, str(error))))


def decode_reply(kind: type[T], raw: bytes) -> T:
    """The value of an answer. Raises the error that the agent answered with."""
    reply = decode(_Reply, raw)
    if reply.error is not None:
        raise ERRORS.get(reply.error.kind, RuntimeUnavailable)(reply.error.message)
    try:
        return _adapter(kind).validate_python(reply.ok)
    except ValidationError as error:
        raise RuntimeUnavailable(
            f"the agent answered what is not a {kind.__name__}; are the versions equal?"
        ) from error
