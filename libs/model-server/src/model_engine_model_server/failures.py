"""Why a bundle could not be loaded, and the termination file that tells the worker's supervisor."""

import json
import traceback
from pathlib import Path

IMPORT_ERROR = "IMPORT_ERROR"
MODEL_LOAD_FAILED = "MODEL_LOAD_FAILED"
PREDICT_FUNCTION_MISSING = "PREDICT_FUNCTION_MISSING"
ARTIFACT_MISSING = "ARTIFACT_MISSING"
ARTIFACT_CORRUPT = "ARTIFACT_CORRUPT"
PYTHON_MISMATCH = "PYTHON_MISMATCH"
DISK_FULL = "DISK_FULL"

# Kubernetes reads at most 4096 bytes of a termination message.
_MESSAGE_CHARACTERS = 500
_TRACEBACK_CHARACTERS = 2500


class LoadError(Exception):
    """Loading the bundle failed; `code` is one of this module's constants, the cause is chained."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def write_termination_file(path: Path, failure: LoadError) -> None:
    """Write {"code", "message", "traceback"} to `path`; of a long traceback the end is kept."""
    cause = failure.__cause__ or failure
    text = "".join(traceback.format_exception(type(cause), cause, cause.__traceback__))
    record = {
        "code": failure.code,
        "message": failure.message[:_MESSAGE_CHARACTERS],
        "traceback": text[-_TRACEBACK_CHARACTERS:],
    }
    path.write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8", errors="replace")
