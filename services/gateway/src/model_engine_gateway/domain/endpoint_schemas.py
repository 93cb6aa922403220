"""An OpenAPI 3.0 document of an owner's endpoints: one operation for each, with the schemas that its bundle brings."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from model_engine_contracts.endpoint_states import EndpointType

REQUEST_SCHEMA, RESPONSE_SCHEMA = "RequestSchema", "ResponseSchema"
ANY_JSON: dict[str, dict[str, Any]] = {
    REQUEST_SCHEMA: {"title": REQUEST_SCHEMA, "description": "Any JSON."},
    RESPONSE_SCHEMA: {"title": RESPONSE_SCHEMA, "description": "Any JSON."},
}
"""The schemas of an endpoint whose bundle brings none."""

_ROUTES = {EndpointType.SYNC: "sync", EndpointType.STREAMING: "streaming", EndpointType.ASYNC: "async"}
_TEXT = {"type": "string"}


@dataclass(frozen=True, slots=True)
class DescribedEndpoint:
    """One endpoint and its own schemas, by their names; at least those two of ANY_JSON."""

    id: str
    name: str
    endpoint_type: EndpointType
    schemas: dict[str, dict[str, Any]]


def schemas_of_bundle(content: Any) -> dict[str, dict[str, Any]]:
    """What a bundle's schema file says, if every reference in it can be resolved; else ANY_JSON."""
    usable = (
        isinstance(content, dict)
        and ANY_JSON.keys() <= content.keys()
        and all(isinstance(schema, dict) for schema in content.values())
        and _references(content) <= content.keys()
    )
    return content if usable else ANY_JSON


def schemas_document(endpoints: Iterable[DescribedEndpoint]) -> dict[str, Any]:
    """The document."""
    paths: dict[str, Any] = {}
    components: dict[str, Any] = dict(_SHARED)
    for endpoint in endpoints:
        route = _ROUTES[endpoint.endpoint_type]
        paths[f"/v1/{route}-tasks?model_endpoint_id={endpoint.id}"] = {"post": _operation(endpoint, route)}
        components |= _components(endpoint)
    return {
        "openapi": "3.0.2",
        "info": {"title": "Launch Endpoints API Reference", "version": "1.0.0"},
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(endpoint: DescribedEndpoint, route: str) -> dict[str, Any]:
    answers: dict[str, tuple[str, dict[str, Any]]] = {
        "sync": ("application/json", _ref(f"{endpoint.name}-SyncEndpointPredictResponse")),
        "streaming": ("text/event-stream", _TEXT),
        "async": ("application/json", _object({"task_id": _TEXT}, "task_id")),
    }
    media_type, schema = answers[route]
    return {
        "summary": endpoint.name,
        "operationId": f"{route}_task_{endpoint.id}",
        "requestBody": {"required": True, "content": _json(_ref(f"{endpoint.name}-EndpointPredictRequest"))},
        "responses": {
            "200": {"description": "Successful Response", "content": {media_type: {"schema": schema}}},
            "422": {"description": "Validation Error", "content": _json(_ref("HTTPValidationError"))},
        },
    }


def _components(endpoint: DescribedEndpoint) -> dict[str, Any]:
    prefix = f"{endpoint.name}-"
    result = _ref(f"{prefix}{RESPONSE_SCHEMA}")
    outcome = {"status": _ref("TaskStatus"), "result": result, "traceback": _TEXT, "status_code": {"type": "integer"}}
    request = {
        "url": _TEXT,
        "args": _ref(f"{prefix}{REQUEST_SCHEMA}"),
        "cloudpickle": _TEXT,
        "callback_url": _TEXT,
        "callback_auth": _ref("CallbackAuth"),
        "return_pickled": {"type": "boolean", "default": False},
        "destination_path": _TEXT,
    }
    if endpoint.endpoint_type is not EndpointType.ASYNC:
        request["timeout_seconds"] = {"type": "number", "minimum": 0, "exclusiveMinimum": True}
        request["num_retries"] = {"type": "integer", "minimum": 0}
    own = {f"{prefix}{name}": _prefixed(schema, prefix) for name, schema in endpoint.schemas.items()}
    return own | {
        f"{prefix}EndpointPredictRequest": _object(request),
        f"{prefix}GetAsyncTaskResponse": _object({"task_id": _TEXT, **outcome}, "task_id", "status"),
        f"{prefix}SyncEndpointPredictResponse": _object(outcome, "status"),
    }


def _references(schema: Any) -> set[str]:
    """The names that `$ref`s speak of, at any depth."""
    if isinstance(schema, list):
        return set().union(*map(_references, schema))
    if not isinstance(schema, dict):
        return set()
    found = set().union(*map(_references, schema.values()))
    if isinstance(target := schema.get("$ref"), str):
        found.add(_referred(target))
    return found


def _prefixed(schema: Any, prefix: str) -> Any:
    """A schema whose references point to the endpoint's own components; without nulls."""
    if isinstance(schema, list):
        return [_prefixed(item, prefix) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {name: _prefixed(part, prefix) for name, part in schema.items() if part is not None}
    if isinstance(target := schema.get("$ref"), str):
        changed |= _ref(f"{prefix}{_referred(target)}")
    return changed


def _referred(target: str) -> str:
    return target.rpartition("/")[2]


def _ref(component: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{component}"}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def _credentials(kind: str, *names: str) -> dict[str, Any]:
    return _object({"kind": {"type": "string", "enum": [kind]}, **dict.fromkeys(names, _TEXT)}, "kind", *names)


_SHARED: dict[str, Any] = {
    **ANY_JSON,
    "CallbackAuth": {
        "oneOf": [_ref("CallbackBasicAuth"), _ref("CallbackmTLSAuth")],
        "discriminator": {
            "propertyName": "kind",
            "mapping": {
                "basic": "#/components/schemas/CallbackBasicAuth",
                "mtls": "#/components/schemas/CallbackmTLSAuth",
            },
        },
    },
    "CallbackBasicAuth": _credentials("basic", "username", "password"),
    "CallbackmTLSAuth": _credentials("mtls", "cert", "key"),
    "TaskStatus": {"type": "string", "enum": ["PENDING", "STARTED", "SUCCESS", "FAILURE", "UNDEFINED"]},
    "HTTPValidationError": _object({"detail": {"type": "array", "items": _ref("ValidationError")}}),
    "ValidationError": _object(
        {
            "loc": {"type": "array", "items": {"anyOf": [_TEXT, {"type": "integer"}]}},
            "msg": _TEXT,
            "type": _TEXT,
        },
        "loc",
        "msg",
        "type",
    ),
}
