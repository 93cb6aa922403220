"""What uv's last words mean. Pure; the texts are those of uv 0.5 to 0.13."""

import re

from model_engine_contracts.failures import Reason
from model_engine_runtime.protocol import Failure

MESSAGE_CHARACTERS = 1500

_SIGNS: tuple[tuple[str, Reason], ...] = (
    (r"No space left on device|Disk quota exceeded", Reason.DISK_FULL),
    (r"No interpreter found|Failed to inspect Python interpreter", Reason.PYTHON_MISMATCH),
    (r"No solution found|Couldn't parse requirement|\b404 Not Found\b", Reason.REQUIREMENTS_UNRESOLVABLE),
    (
        r"error sending request|tcp connect error|dns error|Failed to fetch|operation timed out",
        Reason.REGISTRY_UNAVAILABLE,
    ),
)


def failure_of_uv(output: str, exit_code: int) -> Failure:
    """The failure of a run of uv, from the end of its output."""
    message = _last_words(output) or f"uv exited with code {exit_code}"
    reason = next((reason for sign, reason in _SIGNS if re.search(sign, output)), Reason.BUILD_FAILED)
    return Failure(reason, message, exit_code, output)


def _last_words(output: str) -> str:
    """The last error with its causes: one message, without what follows."""
    begin = max(output.rfind("\nerror:"), 0 if output.startswith("error:") else -1)
    if begin < 0:
        return ""
    words = output[begin:].strip().split("\n\n", 1)[0]
    lines = [re.sub(r"^(error|\s*cause): ", "", line).strip() for line in words.splitlines()]
    return ": ".join(line for line in lines if line)[:MESSAGE_CHARACTERS]
