"""Every released event keeps its meaning: golden schemas and samples."""

import copy
import json
from typing import Any

import pytest

from model_engine_contracts.events import EVENT_TYPES, parse_event
from model_engine_contracts.evolution import SCHEMAS, breaking_changes, schema_of
from model_engine_contracts.subjects import subject_of

OBSERVED = "modelengine.endpoint.observed.v1"


def golden(name: str, kind: str = "schema") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((SCHEMAS / f"{name}.{kind}.json").read_text())
    return content


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_the_golden_schema_is_current_and_unbroken(name: str) -> None:
    current = schema_of(EVENT_TYPES[name])
    assert breaking_changes(golden(name), current) == []
    assert golden(name) == json.loads(json.dumps(current)), "run `make docs` and commit the schema"


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_the_golden_sample_is_still_read_in_full(name: str) -> None:
    sample = golden(name, "sample")
    event = parse_event(json.dumps(sample))
    assert event.type == name
    read = json.loads(event.model_dump_json())
    # Fields that were added since the sample was written are not in it.
    assert _within(read, sample) == sample
    assert subject_of(event).endswith(f".{type(event.data).VERB}.v{type(event.data).MAJOR}")


def _within(value: Any, sample: Any) -> Any:
    """What of `value` the sample speaks of."""
    if isinstance(value, dict) and isinstance(sample, dict):
        return {name: _within(value[name], sample[name]) for name in sample if name in value}
    return value


def test_no_released_event_disappeared() -> None:
    released = {path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.schema.json")}
    assert released == set(EVENT_TYPES)


def test_a_reader_ignores_what_a_newer_minor_adds() -> None:
    sample = golden(OBSERVED, "sample")
    sample["data"]["added_later"] = {"x": 1}
    sample["extension"] = "y"
    assert parse_event(json.dumps(sample)).type == OBSERVED


def _without_property(schema: dict[str, Any]) -> None:
    del schema["$defs"]["EndpointObserved"]["properties"]["replicas"]


def _newly_required(schema: dict[str, Any]) -> None:
    schema["$defs"]["EndpointObserved"]["required"].append("gone")


def _narrowed_enum(schema: dict[str, Any]) -> None:
    schema["$defs"]["Reason"]["enum"].pop()


def _other_type(schema: dict[str, Any]) -> None:
    schema["$defs"]["EndpointObserved"]["properties"]["replicas"]["type"] = "string"


def _lost_alternative(schema: dict[str, Any]) -> None:
    schema["$defs"]["ObservedWorker"]["properties"]["address"]["anyOf"].pop()


@pytest.mark.parametrize("change", [_without_property, _newly_required, _narrowed_enum, _other_type, _lost_alternative])
def test_a_breaking_change_is_found(change: Any) -> None:
    changed = copy.deepcopy(schema_of(EVENT_TYPES[OBSERVED]))
    change(changed)
    assert breaking_changes(schema_of(EVENT_TYPES[OBSERVED]), changed)


def test_an_added_optional_property_is_no_breaking_change() -> None:
    changed = copy.deepcopy(schema_of(EVENT_TYPES[OBSERVED]))
    changed["$defs"]["EndpointObserved"]["properties"]["added"] = {"type": "string"}
    changed["$defs"]["Reason"]["enum"].append("NEW_REASON")
    assert breaking_changes(schema_of(EVENT_TYPES[OBSERVED]), changed) == []
