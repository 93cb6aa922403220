"""Why a run ended, from what its shim and its model server left behind. Pure but for reading these files."""

import json
from pathlib import Path

from model_engine_contracts.failures import Reason
from model_engine_runtime.agent.log_files import tail
from model_engine_runtime.protocol import Failure

TERMINATION_BYTES = 16 << 10
MESSAGE_CHARACTERS = 2000
LINE_CHARACTERS = 200

SAID_BY_MODEL_SERVER = frozenset(
    {
        Reason.ARTIFACT_MISSING,
        Reason.ARTIFACT_CORRUPT,
        Reason.PYTHON_MISMATCH,
        Reason.IMPORT_ERROR,
        Reason.MODEL_LOAD_FAILED,
        Reason.PREDICT_FUNCTION_MISSING,
        Reason.DISK_FULL,
        Reason.OUT_OF_MEMORY,
    }
)
"""What a termination file may say. User code can write one too, so it says nothing about the platform."""

NAMES = {"model": "model server", "forwarder": "forwarder"}


def failure_of(folder: Path) -> Failure:
    """The failure of the run in this folder, which has ended."""
    report = _read_object(folder / "exit.json")
    if report is None:
        message = "The worker's processes are gone: killed from outside, or the machine was restarted."
        return Failure(Reason.EXITED, message, log_tail=tail(folder, "model"))
    part, code = str(report.get("part")), report.get("code")
    exit_code = code if isinstance(code, int) else None
    lines = tail(folder, part)
    if part == "model" and (termination := _read_object(folder / "termination.json")) is not None:
        reason = str(termination.get("code"))
        if reason in SAID_BY_MODEL_SERVER:
            message = str(termination.get("message", ""))[:MESSAGE_CHARACTERS]
            return Failure(Reason(reason), message, exit_code, lines)
    name = NAMES.get(part, part)
    if (error := report.get("error")) is not None:
        return Failure(Reason.EXITED, f"The {name} cannot be started: {error}", exit_code, lines)
    return Failure(Reason.EXITED, f"The {name} {_how(exit_code)}{_last_line(lines)}", exit_code, lines)


def _how(code: int | None) -> str:
    if code == 137:
        return "was killed (SIGKILL), perhaps by the system for want of memory"
    if code is not None and code > 128:
        return f"was ended by signal {code - 128}"
    return f"exited with code {code}"


def _last_line(lines: str) -> str:
    last = next((line.strip() for line in reversed(lines.splitlines()) if line.strip()), None)
    return "." if last is None else f"; its last line: {last[:LINE_CHARACTERS]}"


def _read_object(path: Path) -> dict[str, object] | None:
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(TERMINATION_BYTES))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
