"""Which Python made a pickle, as far as the pickle tells; found without executing any of it.

Functions pickled by value hold bytecode, which another minor version of Python may refuse, misread or crash on.
"""

import pickletools
import sys
from itertools import islice, pairwise
from pathlib import Path

# The SDK puts this key first in the pickled dict, so that it is among the first operations of the pickle.
VERSION_KEY = "python_version"
_OPERATIONS_READ = 20
# What CPython says when it is handed the arguments or the bytecode of another minor version's code objects.
_MISMATCH_SIGNS = ("code() argument", "code expected at", "code() takes", "unknown opcode", "bad marshal")


def running_version() -> str:
    """The running interpreter's version as "3.11"."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def recorded_version(path: Path) -> str | None:
    """The version that the pickle at `path` names as its maker's, e.g. "3.12"; None when it names none."""
    with path.open("rb") as file:
        try:
            arguments = [argument for _, argument, _ in islice(pickletools.genops(file), _OPERATIONS_READ)]
        except ValueError:
            return None
    strings = [argument for argument in arguments if isinstance(argument, str)]
    for key, value in pairwise(strings):
        if key == VERSION_KEY:
            return value
    return None


def is_whole_pickle(path: Path) -> bool:
    """Whether the file is a well-formed pickle from its first operation to its STOP."""
    with path.open("rb") as file:
        try:
            for _ in pickletools.genops(file):
                pass
        except (ValueError, OverflowError):
            return False
    return True


def looks_like_mismatch(error: BaseException) -> bool:
    """Whether `error` is what CPython raises for code objects that another minor version made."""
    return isinstance(error, (TypeError, ValueError, SystemError)) and any(
        sign in str(error) for sign in _MISMATCH_SIGNS
    )
