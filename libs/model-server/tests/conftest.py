"""Starts the model server as the process that it is, around functions that a test defines."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import httpx
import pytest

from model_engine_local.testing import wait_until


@dataclass
class ModelServer:
    """A model server process, its client, and the files it writes."""

    process: subprocess.Popen[bytes]
    log_path: Path
    termination_path: Path

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def client(self) -> httpx.Client:
        """A client of the server once it listens."""
        found = wait_until(lambda: re.search(r"running on (http://127\.0\.0\.1:\d+)", self.log))
        return httpx.Client(base_url=found[1], timeout=20)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        return self.process.wait(timeout=20)


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Any]:
    return wait_until


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ModelServer]]:
    """Call with a bundle object (pickled by value) or with `artifact=`, and environment variables as keywords."""
    servers: list[ModelServer] = []

    def start_server(bundle: Any = None, artifact: Path | None = None, **environ: str) -> ModelServer:
        folder = tmp_path / f"server-{len(servers)}"
        folder.mkdir()
        if artifact is None:
            artifact = folder / "artifact"
            artifact.write_bytes(cloudpickle.dumps(bundle))
        log_path, termination_path = folder / "log", folder / "termination"
        settings = {
            "PORT": "0",
            "ME_BUNDLE_KIND": "cloudpickle",
            "ME_ARTIFACT_PATH": str(artifact),
            "ME_TERMINATION_FILE": str(termination_path),
            "TMPDIR": str(folder),
            **environ,
        }
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "model_engine_model_server"],
                env={"PATH": os.environ["PATH"], **settings},
                cwd=folder,
                stderr=log,
                stdout=log,
            )
        servers.append(ModelServer(process, log_path, termination_path))
        return servers[-1]

    yield start_server
    for server in servers:
        server.process.kill()
        server.process.wait()
