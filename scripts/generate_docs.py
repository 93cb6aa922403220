"""Regenerates what is made from code: golden schemas, the catalogue of events, the tables of settings and failures."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

from model_engine_chassis.settings_base import ServiceSettings, settings_table
from model_engine_contracts.envelope import EventData
from model_engine_contracts.events import EVENT_TYPES
from model_engine_contracts.evolution import write_golden_files
from model_engine_contracts.failures import CATALOGUE

ROOT = Path(__file__).resolve().parents[1]

SETTINGS = {
    "gateway": ("model_engine_gateway.settings", "GatewaySettings", "services/gateway/README.md"),
    "builder": ("model_engine_builder.settings", "BuilderSettings", "services/builder/README.md"),
    "cache": ("model_engine_cache.settings", "CacheSettings", "services/cache/README.md"),
    "autoscaler": ("model_engine_autoscaler.settings", "AutoscalerSettings", "services/autoscaler/README.md"),
    "agent": ("model_engine_runtime.agent.settings", "AgentSettings", "libs/runtime/README.md"),
}


def generated_files() -> dict[Path, str]:
    """Each generated file and what it must hold."""
    tables = {name: settings_table(_settings_class(module, cls)) for name, (module, cls, _) in SETTINGS.items()}
    files = {ROOT / "docs" / "settings.md": _settings_page(tables), ROOT / "docs" / "events.md": _events_page()}
    files[ROOT / "docs" / "failures.md"] = _failures_page()
    for name, (_, _, readme) in SETTINGS.items():
        path = ROOT / readme
        files[path] = _with_settings(path.read_text(), tables[name])
    return files


def _settings_class(module: str, name: str) -> type[ServiceSettings]:
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]  # named in the table above


def _settings_page(tables: dict[str, str]) -> str:
    intro = (
        "# Settings\n\nSettings are environment variables; `ME_X_FILE` names a file that holds the value of `ME_X`."
        " A service that finds a wrong setting lists every wrong one and exits with 78. This page is generated.\n"
    )
    return intro + "".join(f"\n## {name}\n\n{table}\n" for name, table in tables.items())


def _with_settings(text: str, table: str) -> str:
    block = f"<!-- settings -->\n{table}\n<!-- /settings -->"
    return re.sub(r"<!-- settings -->(?:.*<!-- /settings -->)?", lambda _: block, text, flags=re.DOTALL)


def _events_page() -> str:
    history = {name: cls for name, cls in EVENT_TYPES.items() if cls.HISTORY}
    facts = {name: cls for name, cls in EVENT_TYPES.items() if not cls.HISTORY}
    return (
        "# Events\n\nCloudEvents 1.0 in JSON. This page is generated.\n\n## History\n\nWhat users may subscribe to:"
        " `GET /v1/events` and `GET /v1/model-endpoints/{id}/events` (server-sent events, `Last-Event-ID` resumes).\n\n"
        f"{_event_table(history)}\n\n## Facts between services\n\n{_event_table(facts)}\n"
    )


def _event_table(events: dict[str, type[EventData]]) -> str:
    rows = ["| type | meaning | data |", "|---|---|---|"]
    for name, cls in sorted(events.items()):
        meaning = (cls.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ").replace("|", "\\|")
        fields = ", ".join(f"`{field}`" for field in cls.model_fields)
        rows.append(f"| `{name}` | {meaning} | {fields} |")
    return "\n".join(rows)


def _failures_page() -> str:
    rows = ["| code | cause | remedy | may pass by itself |", "|---|---|---|---|"]
    for code, kind in CATALOGUE.items():
        rows.append(f"| `{code.value}` | {kind.cause} | {kind.remedy} | {'yes' if kind.retryable else 'no'} |")
    return (
        "# Why an endpoint fails\n\nThe `status_reason` of an endpoint begins with one of these codes and ends with"
        " its remedy; its events carry the same as `failure`, with the exit code and the last lines of the log."
        " `model-engine describe ENDPOINT` shows all of it. A code never changes its meaning. This page is"
        " generated.\n\n" + "\n".join(rows) + "\n"
    )


def main(arguments: list[str]) -> int:
    """Write everything; with `--check` only say what is stale, and return 1 if anything is."""
    check = "--check" in arguments
    stale: list[Any] = [] if check else write_golden_files()
    for path, text in generated_files().items():
        if not path.exists() or path.read_text() != text:
            stale.append(path.relative_to(ROOT))
            if not check:
                path.write_text(text)
    for item in stale:
        print(f"{'stale' if check else 'wrote'}: {item}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
