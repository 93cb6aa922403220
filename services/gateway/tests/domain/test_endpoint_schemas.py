"""The document that describes endpoints: every reference leads somewhere, own schemas take the place of any JSON."""

import json
import re
from typing import Any

import pytest

from model_engine_contracts.endpoint_states import EndpointType
from model_engine_gateway.domain.endpoint_schemas import (
    ANY_JSON,
    DescribedEndpoint,
    schemas_document,
    schemas_of_bundle,
)

OWN = {
    "RequestSchema": {"type": "object", "properties": {"x": {"$ref": "#/components/schemas/Number"}}, "title": None},
    "ResponseSchema": {"oneOf": [{"$ref": "#/$defs/Number"}, {"type": "string"}]},
    "Number": {"type": "integer"},
}


def test_every_reference_leads_somewhere() -> None:
    endpoints = [DescribedEndpoint(f"end_{kind}", f"my.{kind}", kind, ANY_JSON) for kind in EndpointType]
    document = schemas_document([*endpoints, DescribedEndpoint("end_own", "own", EndpointType.SYNC, OWN)])
    assert set(document["paths"]) == {
        "/v1/sync-tasks?model_endpoint_id=end_sync",
        "/v1/sync-tasks?model_endpoint_id=end_own",
        "/v1/async-tasks?model_endpoint_id=end_async",
        "/v1/streaming-tasks?model_endpoint_id=end_streaming",
    }
    components = document["components"]["schemas"]
    shared = "RequestSchema ResponseSchema CallbackAuth CallbackBasicAuth CallbackmTLSAuth TaskStatus"
    assert set(components) >= {*shared.split(), "HTTPValidationError", "ValidationError", "own-Number"}
    referred = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert referred <= components.keys()
    assert "null" not in json.dumps(document)


def test_own_schemas_refer_to_one_another() -> None:
    components = schemas_document([DescribedEndpoint("e", "own", EndpointType.SYNC, OWN)])["components"]["schemas"]
    assert components["own-RequestSchema"] == {
        "type": "object",
        "properties": {"x": {"$ref": "#/components/schemas/own-Number"}},
    }
    assert components["own-ResponseSchema"]["oneOf"][0] == {"$ref": "#/components/schemas/own-Number"}


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {"RequestSchema": {}},
        {**OWN, "ResponseSchema": 1},
        {**OWN, "Number": {"items": [{"$ref": "#/components/schemas/Nowhere"}]}},
    ],
)
def test_what_cannot_be_used_is_any_json(content: Any) -> None:
    assert schemas_of_bundle(content) == ANY_JSON
    assert schemas_of_bundle(OWN) == OWN
