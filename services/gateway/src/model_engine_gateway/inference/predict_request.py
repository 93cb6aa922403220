"""The request of a prediction: checked as the contract says, kept as the bytes that came.

The arguments are never decoded: the checking model leaves them out, so a large payload costs one scan.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, quote

from pydantic import BaseModel, ValidationError, create_model

from model_engine_contracts.api.common import CallbackAuth
from model_engine_contracts.api.tasks import EndpointPredictV1Request, SyncEndpointPredictV1Request
from model_engine_gateway.errors import ApiError
from model_engine_gateway.inference.json_text import is_nested_too_deeply

CACHED_QUERY_BYTES = 256
_TARGET_SAFE = "/%?&=:@+$,;!*'()~-._"


def _without_args(model: type[BaseModel]) -> type[BaseModel]:
    fields: dict[str, Any] = {
        name: (field.annotation, field) for name, field in model.model_fields.items() if name != "args"
    }
    return create_model(model.__name__, **fields)


SYNC = _without_args(SyncEndpointPredictV1Request)
"""What sync and streaming calls may say."""

ASYNC = _without_args(EndpointPredictV1Request)
"""What async tasks may say: deadline and retries are none of their fields."""


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """A valid request. `body` is JSON as it came; times in seconds; `destination_path` overrides the route.

    `wants_pickle` says that the answer may be stored as a pickle, which needs an address to store it at.
    """

    endpoint_id: str
    body: bytes
    destination_path: str | None = None
    timeout_seconds: float | None = None
    num_retries: int | None = None
    wants_pickle: bool = False
    callback_url: str | None = None
    callback_auth: CallbackAuth | None = field(default=None, repr=False)


def read_predict_request(
    query: bytes, headers: Mapping[bytes, bytes], body: bytes, model: type[BaseModel] = SYNC
) -> PredictRequest:
    """Check query and body. Raises ApiError 422 that names every wrong field."""
    problems: list[dict[str, Any]] = []
    endpoint_id = _endpoint_id(query) if len(query) <= CACHED_QUERY_BYTES else _endpoint_id.__wrapped__(query)
    if endpoint_id is None:
        problems.append(
            {"type": "missing", "loc": ["query", "model_endpoint_id"], "msg": "Field required", "input": None}
        )
    fields: Any = None
    try:
        fields = _read_fields(headers.get(b"content-type"), body, model)
    except _Problems as error:
        problems += error.problems
    if problems or endpoint_id is None:
        raise ApiError(422, problems, "invalid_request")
    return PredictRequest(
        endpoint_id=endpoint_id,
        body=body,
        destination_path=fields.destination_path or None,
        timeout_seconds=getattr(fields, "timeout_seconds", None),
        num_retries=getattr(fields, "num_retries", None),
        callback_url=fields.callback_url,
        callback_auth=fields.callback_auth,
        wants_pickle=fields.return_pickled or fields.cloudpickle is not None,
    )


def target_of(request: PredictRequest, default: bytes) -> bytes:
    """The path at the worker as it stands in the request line."""
    path = request.destination_path
    return quote(path, safe=_TARGET_SAFE).encode() if path else default


@lru_cache(maxsize=1024)
def _endpoint_id(query: bytes) -> str | None:
    """The endpoint that a query string names; callers repeat theirs."""
    values = parse_qs(query.decode("latin-1")).get("model_endpoint_id")
    return values[-1] if values else None


class _Problems(Exception):
    def __init__(self, problems: list[dict[str, Any]]) -> None:
        super().__init__(problems)
        self.problems = problems


def _read_fields(content_type: bytes | None, body: bytes, model: type[BaseModel]) -> Any:
    if not _is_json(content_type):
        raise _Problems([_not_an_object(body.decode("utf-8", "replace"))])
    try:
        fields: Any = model.model_validate_json(body)
    except ValidationError as error:
        if is_nested_too_deeply(error):
            raise _Problems([_invalid_json(0, "nested too deeply")]) from error
        fields = _read_slowly(body, model)
    path = fields.destination_path
    if path and not (path.startswith("/") and path.isprintable() and "#" not in path):
        message = "Value error, destination_path must start with / and hold neither control characters nor a fragment"
        raise _Problems([{"type": "value_error", "loc": ["body", "destination_path"], "msg": message, "input": path}])
    return fields


def _read_slowly(body: bytes, model: type[BaseModel]) -> Any:
    """Read with Python's parser, which names offsets and takes the lone surrogates that the fast one refuses."""
    try:
        value = json.loads(body.decode()) if body.strip() else None
    except json.JSONDecodeError as error:
        raise _Problems([_invalid_json(error.pos, error.msg)]) from error
    except UnicodeDecodeError as error:
        raise _Problems([_invalid_json(error.start, "not UTF-8")]) from error
    except ValueError as error:  # an integer beyond the interpreter's limit of digits
        raise _Problems([_invalid_json(0, str(error))]) from error
    if value is None:
        raise _Problems([{"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}])
    if not isinstance(value, dict):
        raise _Problems([_not_an_object(value)])
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _Problems(
            [
                {**problem, "loc": ["body", *problem["loc"]], "input": _echo(problem["input"])}
                for problem in _errors(error)
            ]
        ) from error


def _errors(error: ValidationError) -> list[dict[str, Any]]:
    return [dict(problem) for problem in error.errors(include_url=False)]


def _is_json(content_type: bytes | None) -> bool:
    if content_type is None:
        return True
    kind = content_type.partition(b";")[0].strip().lower()
    return kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))


def _invalid_json(offset: int, why: str) -> dict[str, Any]:
    return {
        "type": "json_invalid",
        "loc": ["body", offset],
        "msg": "JSON decode error",
        "input": {},
        "ctx": {"error": why},
    }


def _not_an_object(value: Any) -> dict[str, Any]:
    message = "Input should be a valid dictionary or object to extract fields from"
    return {"type": "model_attributes_type", "loc": ["body"], "msg": message, "input": _echo(value)}


def _echo(value: Any) -> Any:
    """The value itself where JSON can say it, else its text."""
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return repr(value)
    return value
