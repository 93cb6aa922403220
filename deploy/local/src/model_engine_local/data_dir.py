"""The data directory of a local platform: where each thing lies, its secrets, and the record of a running one."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DEFAULT = Path(os.environ.get("ME_DATA_DIR", "~/.model-engine")).expanduser()


class AlreadyRunningError(Exception):
    """Another launcher holds this data directory."""


@dataclass(frozen=True, slots=True)
class Running:
    """What `up` writes when every process is ready. `launcher` and `started` tell the process that owns it."""

    launcher: int
    started: float
    url: str
    nats_url: str
    mongo_url: str
    redis_url: str
    processes: dict[str, int]
    ready_seconds: float


@dataclass(frozen=True, slots=True)
class DataDir:
    """One data directory; made on first use, readable by its owner only."""

    path: Path

    def prepare(self) -> None:
        """Make the directory, its subdirectories and its secrets."""
        for folder in (self.path, self.logs, self.path / "agent"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for file in (self.admin_token, self.artifact_url_secret):
            if not file.exists():
                write_private(file, secrets.token_urlsafe(32))

    @property
    def logs(self) -> Path:
        """One log file per process."""
        return self.path / "logs"

    @property
    def admin_token(self) -> Path:
        """The administrator's token: whoever reads it can make keys."""
        return self.path / "admin-token"

    @property
    def artifact_url_secret(self) -> Path:
        """Signs the short-lived addresses of artifacts."""
        return self.path / "artifact-url-secret"

    @property
    def record(self) -> Path:
        """The record of the running platform, as JSON."""
        return self.path / "running.json"

    @property
    def launcher_log(self) -> Path:
        """What a detached launcher prints."""
        return self.logs / "launcher.log"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory; raises AlreadyRunningError while another process does. The lock dies with its holder."""
        with (self.path / "lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise AlreadyRunningError(f"A platform already runs in {self.path}.") from error
            yield

    def write_record(self, running: Running) -> None:
        """Say that the platform is ready, atomically."""
        write_private(self.record, json.dumps(asdict(running), indent=2))

    def read_record(self) -> Running | None:
        """The record of the platform in this directory, or None when none is up."""
        try:
            content: dict[str, Any] = json.loads(self.record.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return Running(**content)


def write_private(file: Path, text: str) -> None:
    """Write a file of mode 0600 so that a reader sees the old or the new content, never a part."""
    draft = file.with_suffix(".draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
    draft.replace(file)
