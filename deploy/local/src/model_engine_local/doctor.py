"""What this machine lacks to run the platform, and how to get it."""

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer

from model_engine.cli.exit_codes import ExitCode
from model_engine.cli.output import show_json, show_table
from model_engine.connection import default_data_dir
from model_engine_local.servers import BinaryNotFound, MissingLibrary, MongoServer, NatsServer, ValkeyServer
from model_engine_local.servers.binaries import Binary

MIN_FREE_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `remedy` is empty when it is all right."""

    check: str
    found: str
    remedy: str = ""


def run(*, as_json: bool) -> None:
    """Print all findings; exit status 1 when something is missing."""
    findings = examine()
    if as_json:
        show_json([{"check": item.check, "found": item.found, "remedy": item.remedy} for item in findings])
    else:
        show_table(
            ["", "check", "found", "what to do"],
            [("ok" if not item.remedy else "!!", item.check, item.found, item.remedy) for item in findings],
        )
    if any(item.remedy for item in findings):
        raise typer.Exit(ExitCode.FAILED)


def examine() -> list[Finding]:
    """Every check, in the order in which their absence would be noticed."""
    servers: list[Callable[[], Finding]] = [
        lambda: _server("MongoDB server", MongoServer.BINARY),
        lambda: _server("NATS server", NatsServer.BINARY),
        lambda: _server("Valkey server", ValkeyServer.BINARY),
    ]
    return [_python(), _system(), _uv(), *(check() for check in servers), _disk()]


def _python() -> Finding:
    version = platform.python_version()
    remedy = "" if sys.version_info >= (3, 11) else "install Python 3.11 or later"
    return Finding("Python", version, remedy)


def _system() -> Finding:
    found = f"{platform.system()} {platform.machine()}"
    supported = sys.platform in ("linux", "darwin")
    return Finding("system", found, "" if supported else "use Linux or macOS (on Windows: WSL 2)")


def _uv() -> Finding:
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.exists() else shutil.which("uv")
    return Finding("uv (builds environments)", uv or "missing", "" if uv else "pip install uv")


def _server(name: str, binary: Binary) -> Finding:
    try:
        return Finding(name, binary.version(default_data_dir() / "bin"))
    except (BinaryNotFound, MissingLibrary) as error:
        return Finding(name, "not usable", str(error))
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(name, "not usable", f"it cannot be started: {error}")


def _disk() -> Finding:
    folder = default_data_dir()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    remedy = "" if free >= MIN_FREE_BYTES else f"free {MIN_FREE_BYTES >> 30} GiB, or choose another --data-dir"
    return Finding("disk space", f"{free / (1 << 30):.1f} GiB free at {folder}", remedy)
