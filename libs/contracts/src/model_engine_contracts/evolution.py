"""Golden schemas of the events, and the rule by which a released version may change: additively.

`python -m model_engine_contracts.evolution` writes a schema and a sample for every event that has none yet, and adds to
a schema what its model gained. It never removes anything: what was released stays.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from model_engine_contracts.envelope import Event, EventData
from model_engine_contracts.events import EVENT_TYPES

SCHEMAS = Path(__file__).parent / "schemas"

Schema = dict[str, Any]


def schema_of(cls: type[EventData]) -> Schema:
    """The JSON Schema of one event, envelope included."""
    concrete: Any = Event.__class_getitem__(cls)
    return TypeAdapter(concrete).json_schema()


def breaking_changes(golden: Schema, current: Schema, at: str = "") -> list[str]:
    """What in `current` would break a reader or writer of `golden`.

    That is a property removed or newly required, an enum narrowed, a type changed. Definitions are compared by name
    and properties by path; an empty list means that the change is additive.
    """
    problems = []
    for name, value in golden.get("properties", {}).items():
        found = current.get("properties", {}).get(name)
        if found is None:
            problems.append(f"{at}/{name}: property removed")
        else:
            problems += breaking_changes(value, found, f"{at}/{name}")
    problems += [
        f"{at}/{name}: newly required" for name in current.get("required", []) if name not in golden.get("required", [])
    ]
    if lost := [value for value in golden.get("enum", []) if value not in current.get("enum", [])]:
        problems.append(f"{at}: enum narrowed, {lost} removed")
    for key in ("type", "const", "format", "$ref"):
        if key in golden and golden[key] != current.get(key):
            problems.append(f"{at}: {key} changed from {golden[key]!r} to {current.get(key)!r}")
    for name, value in golden.get("$defs", {}).items():
        found = current.get("$defs", {}).get(name)
        problems += [f"{name}: definition removed"] if found is None else breaking_changes(value, found, name)
    if "items" in golden:
        problems += breaking_changes(golden["items"], current.get("items", {}), f"{at}[]")
    for alternative in golden.get("anyOf", []):
        if all(breaking_changes(alternative, found) for found in current.get("anyOf", [])):
            problems.append(f"{at}: no alternative left for {json.dumps(alternative)}")
    return problems


def sample_of(cls: type[EventData]) -> Schema:
    """A valid event with every field set, made from its schema; the same on every run."""
    schema = schema_of(cls)
    sample = _example(schema, schema.get("$defs", {}))
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).isoformat().replace("+00:00", "Z")
    sample |= {
        "type": cls.type_name(),
        "time": moment,
        "subject": "entity_1",
        "id": "event-1",
        "source": "/model-engine/x",
    }
    sample["data"][cls.ENTITY] = "entity_1"
    return dict(sample)


def _example(schema: Schema, definitions: dict[str, Schema]) -> Any:
    if "$ref" in schema:
        return _example(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return _example(next(item for item in schema["anyOf"] if item.get("type") != "null"), definitions)
    match schema.get("type"):
        case "object":
            return {name: _example(value, definitions) for name, value in schema.get("properties", {}).items()}
        case "array":
            return [_example(schema.get("items", {}), definitions)]
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case "string":
            return "2026-01-02T03:04:05Z" if schema.get("format") == "date-time" else "text"
    return None


def write_golden_files() -> list[str]:
    """Write what is missing and extend what grew; returns the names of the files written.

    Raises ValueError where a model changed in a way that needs a new major version.
    """
    written = []
    SCHEMAS.mkdir(exist_ok=True)
    for name, cls in EVENT_TYPES.items():
        path = SCHEMAS / f"{name}.schema.json"
        current = schema_of(cls)
        if path.exists() and (problems := breaking_changes(json.loads(path.read_text()), current)):
            raise ValueError(
                f"{name} broke its released schema: {'; '.join(problems)}. Make a v{cls.MAJOR + 1} beside it."
            )
        contents = {path: current}
        sample = SCHEMAS / f"{name}.sample.json"
        if not sample.exists():
            contents[sample] = sample_of(cls)
        for file, content in contents.items():
            text = json.dumps(content, indent=2, sort_keys=True) + "\n"
            if not file.exists() or file.read_text() != text:
                file.write_text(text)
                written.append(file.name)
    return written


if __name__ == "__main__":
    write_golden_files()
