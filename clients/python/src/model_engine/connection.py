"""Where the gateway is and which key to call it with: arguments, then ME_URL and ME_API_KEY, then the data directory.

`model-engine up` leaves the file `client.json` and the administrator's token in its data directory, so that commands
on the same machine need neither.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from model_engine.errors import SettingsError

CLIENT_FILE = "client.json"
ADMIN_TOKEN_FILE = "admin-token"  # noqa: S105 # the name of a file


@dataclass(frozen=True, slots=True)
class Connection:
    """The gateway's address without a trailing slash, and the key (or the administrator's token)."""

    url: str
    api_key: str


def default_data_dir() -> Path:
    """ME_DATA_DIR, else `.model-engine` in the home directory."""
    return Path(os.environ.get("ME_DATA_DIR") or Path.home() / ".model-engine")


def resolve_connection(url: str | None = None, api_key: str | None = None, data_dir: Path | None = None) -> Connection:
    """The connection to use; raises SettingsError that says how to give what is missing."""
    directory = data_dir or default_data_dir()
    # A data directory that is named outright is meant, whatever the environment says.
    environ = {} if data_dir else os.environ
    url = url or environ.get("ME_URL")
    api_key = api_key or environ.get("ME_API_KEY")
    if not url or not api_key:
        stored = _read_client_file(directory)
        url = url or stored.get("url")
        api_key = api_key or stored.get("api_key")
    if not url:
        raise SettingsError(
            f"No gateway address: set ME_URL, pass --url, or start one with `model-engine up` ({directory})."
        )
    if not api_key:
        raise SettingsError(
            "No API key: set ME_API_KEY, pass --api-key, or make one with `model-engine api-key create`."
        )
    return Connection(url.rstrip("/"), api_key)


def resolve_admin_connection(url: str | None = None, data_dir: Path | None = None) -> Connection:
    """The connection of the administrator of the platform in `data_dir`; raises SettingsError."""
    directory = data_dir or default_data_dir()
    try:
        token = (directory / ADMIN_TOKEN_FILE).read_text().strip()
    except OSError as error:
        raise SettingsError(
            f"The administrator's token cannot be read: {error}. Name the platform's data directory by --data-dir."
        ) from error
    return resolve_connection(url, token, data_dir)


def write_connection(data_dir: Path, connection: Connection) -> None:
    """Leave `connection` for later commands; only the owner of the file may read it."""
    path = data_dir / CLIENT_FILE
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(connection), file)


def _read_client_file(directory: Path) -> dict[str, str]:
    path = directory / CLIENT_FILE
    try:
        stored = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}.") from error
    if not isinstance(stored, dict):
        raise SettingsError(f"{path} does not hold a JSON object.")
    return {key: str(value) for key, value in stored.items()}
