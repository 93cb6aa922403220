"""What a request must be like before the agent acts on it. Pure."""

import re

from model_engine_contracts.ids import is_subject_id
from model_engine_runtime.errors import InvalidRequest
from model_engine_runtime.protocol import Environment, WorkerSet

MAX_REPLICAS = 10_000

_SECRET_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PYTHON = re.compile(r"3\.\d{1,3}(\.\d{1,3})?")


def check_environment(environment: Environment) -> None:
    """Raises InvalidRequest that names what is wrong."""
    url, sha256 = environment.artifact_url, environment.artifact_sha256
    location, version = environment.artifact_location, environment.artifact_version
    known = sha256 is not None or (location is not None and version is not None)
    _require(
        known or (url is None and location is None),
        "artifact_sha256 is missing: an artifact is known by its hash, or by its location and version",
    )
    _require(sha256 is None or bool(_SHA256.fullmatch(sha256)), "artifact_sha256 must be 64 hexadecimal digits")
    _require(environment.deadline_s > 0, f"deadline_s must be above 0, not {environment.deadline_s}")
    python = environment.python
    _require(python is None or bool(_PYTHON.fullmatch(python)), f"python must be such as 3.11, not {python!r}")


def check_want(want: WorkerSet) -> None:
    """Raises InvalidRequest that names what is wrong."""
    _require(is_subject_id(want.endpoint_id), f"endpoint_id {want.endpoint_id!r}: use only a-z, 0-9, _ and -")
    _require(bool(want.installation), "installation is missing")
    _require(bool(want.revision), "revision is missing")
    _require(bool(want.command), "command is empty")
    _require(want.memory_bytes > 0, f"memory_bytes must be above 0, not {want.memory_bytes}")
    _require(0 <= want.model_port <= 65535, f"model_port must be from 0 to 65535, not {want.model_port}")
    _require(want.ready_path.startswith("/"), f"ready_path must start with /, not {want.ready_path!r}")
    _require(want.start_deadline_s > 0, f"start_deadline_s must be above 0, not {want.start_deadline_s}")
    _require(want.drain_s >= 0, f"drain_s must be 0 or above, not {want.drain_s}")
    replicas = want.initial_replicas
    _require(0 <= replicas <= MAX_REPLICAS, f"initial_replicas must be from 0 to {MAX_REPLICAS}, not {replicas}")
    for name, value in want.env.items():
        _require(bool(name) and "=" not in name and "\0" not in name + value, f"env: {name!r} cannot be a variable")
    for name in want.secrets:
        _require(bool(_SECRET_NAME.fullmatch(name)), f"secrets: {name!r} cannot be a file name")


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise InvalidRequest(problem)
