"""Options that many commands share, and the client that they describe."""

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from model_engine.cli.output import say

if TYPE_CHECKING:
    from model_engine.client import Client

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Url = Annotated[
    str | None, typer.Option("--url", help="Address of the gateway; else ME_URL.", rich_help_panel="Connection")
]
ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", help="Key to call it with; else ME_API_KEY.", rich_help_panel="Connection"),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Data directory of a platform on this machine, which holds its address and keys; else ME_DATA_DIR, "
        "else ~/.model-engine.",
        rich_help_panel="Connection",
    ),
]
Output = Annotated[Literal["table", "json"], typer.Option("--output", "-o", help="For people or for programs.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait.")]


def connect(url: str | None, api_key: str | None, data_dir: Path | None) -> "Client":
    """A client for the options' gateway that says each retry on stderr."""
    from model_engine.client import Client
    from model_engine.connection import resolve_connection

    return Client(resolve_connection(url, api_key, data_dir), on_retry=lambda retry: say(f"retry: {retry}"))


def connect_as_administrator(url: str | None, data_dir: Path | None) -> "Client":
    """A client with the administrator's token of the platform in `data_dir`."""
    from model_engine.client import Client
    from model_engine.connection import resolve_admin_connection

    return Client(resolve_admin_connection(url, data_dir), on_retry=lambda retry: say(f"retry: {retry}"))


def read_duration(text: str, option: str) -> int:
    """Seconds of a duration such as 90s, 15m, 12h or 30d; ends the command when it is none."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if match is None:
        raise typer.BadParameter(f"{option} must be a number and one of s, m, h and d, such as 30d.")
    return int(match[1]) * _UNIT_SECONDS[match[2]]


def read_json(text: str, option: str) -> Any:
    """The JSON in `text`, in the file after `@`, or on standard input for `-`; ends the command when it is none."""
    try:
        if text == "-":
            return json.load(sys.stdin)
        return json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{option} must be JSON, @FILE or - for standard input: {error}") from error


def read_object(text: str, option: str) -> dict[str, Any]:
    """Like `read_json`, for a JSON object."""
    value = read_json(text, option)
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{option} must be a JSON object.")
    return value
