"""The model server as it is installed beside the agent: what it needs, its version, and a copy for environments."""

import hashlib
import importlib.util
import re
import shutil
from importlib.metadata import metadata, requires
from pathlib import Path

PACKAGE = "model_engine_model_server"
DISTRIBUTION = "model-engine-model-server"


def source_folder() -> Path:
    """The folder of the package. It is pure Python, so any interpreter that is new enough runs a copy of it."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{DISTRIBUTION} must be installed where the agent is")
    return Path(spec.origin).parent


def content_version() -> str:
    """A hash of the package's code and needs: environments with another one are made anew."""
    digest = hashlib.sha256("\n".join(requirements()).encode())
    for path in sorted(source_folder().rglob("*.py")):
        digest.update(path.relative_to(source_folder()).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def requirements() -> list[str]:
    """What the model server imports."""
    return sorted(requires(DISTRIBUTION) or [])


def minimum_python() -> tuple[int, int]:
    """The oldest Python that runs it."""
    stated = re.search(r">=\s*(\d+)\.(\d+)", metadata(DISTRIBUTION)["Requires-Python"])
    assert stated is not None
    return int(stated[1]), int(stated[2])


def copy_into(site_packages: Path) -> None:
    """Put a copy into an environment."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source_folder(), site_packages / PACKAGE, ignore=ignore, dirs_exist_ok=True)
