"""What is the same: the key of an environment and the revision of a worker template. Pure."""

import hashlib
import json
from dataclasses import fields

from model_engine_runtime.protocol import Environment, WorkerSet

KEY_CHARACTERS = 32
"""128 bits: short enough for the path of an interpreter to fit into a `#!` line."""

REVISION_CHARACTERS = 16

NOT_IN_TEMPLATE = frozenset(
    {"installation", "endpoint_id", "generation", "revision", "secrets", "start_deadline_s", "initial_replicas"}
)
"""Fields of a WorkerSet that change nothing in a running worker."""


def environment_key(environment: Environment, platform: str, model_server: str) -> str:
    """The key of an environment on a platform with a version of the model server.

    The artifact's address and the deadline are no part of it; the order of requirements is, as it is to installers.
    """
    identity: dict[str, object] = {
        "image": environment.image,
        "python": environment.python,
        "requirements": list(environment.requirements),
        "artifact": environment.artifact_sha256,
        "platform": platform,
        "model_server": model_server,
    }
    if environment.artifact_location is not None:
        identity["artifact"] = [environment.artifact_location, environment.artifact_version]
    return _digest(identity)[:KEY_CHARACTERS]


def template_revision(want: WorkerSet, nonce: int = 0) -> str:
    """The hash of everything in a WorkerSet that changes what runs in a worker. Another `nonce` means a restart."""
    template = {item.name: getattr(want, item.name) for item in fields(want) if item.name not in NOT_IN_TEMPLATE}
    return _digest(template | {"nonce": nonce})[:REVISION_CHARACTERS]


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=dict)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
