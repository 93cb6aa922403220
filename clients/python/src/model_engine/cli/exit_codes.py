"""What the exit status of every command means."""

from enum import IntEnum

from model_engine import errors


class ExitCode(IntEnum):
    """The statuses; `MEANINGS` documents them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    AUTHENTICATION = 4
    TIMEOUT = 5
    UNAVAILABLE = 6
    CONNECTION_LOST = 7
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "the endpoint, task or prediction failed, or the service did",
    ExitCode.USAGE: "wrong options or arguments, or a request refused as invalid",
    ExitCode.NOT_FOUND: "no such endpoint or key",
    ExitCode.AUTHENTICATION: "the API key is unknown, revoked or not allowed to do this",
    ExitCode.TIMEOUT: "not done within --timeout; it may still happen",
    ExitCode.UNAVAILABLE: "the service cannot be reached or is overloaded; nothing was done",
    ExitCode.CONNECTION_LOST: "the connection broke in mid-request; it may have been done or not",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
}

# The first match counts, so subclasses stand before their bases.
_BY_ERROR: tuple[tuple[type[errors.ModelEngineError], ExitCode], ...] = (
    (errors.SettingsError, ExitCode.USAGE),
    (errors.RefusedError, ExitCode.USAGE),
    (errors.InvalidRequestError, ExitCode.USAGE),
    (errors.NotFoundError, ExitCode.NOT_FOUND),
    (errors.AuthenticationError, ExitCode.AUTHENTICATION),
    (errors.WaitTimeoutError, ExitCode.TIMEOUT),
    (errors.UnreachableError, ExitCode.UNAVAILABLE),
    (errors.UnavailableError, ExitCode.UNAVAILABLE),
    (errors.ConnectionLostError, ExitCode.CONNECTION_LOST),
    (errors.ModelEngineError, ExitCode.FAILED),
)


def exit_code_of(error: errors.ModelEngineError) -> ExitCode:
    """The exit status for an error."""
    if isinstance(error, errors.ApiError) and error.status == 408:
        return ExitCode.TIMEOUT
    return next(code for kind, code in _BY_ERROR if isinstance(error, kind))


def exit_code_help() -> str:
    """The table at the end of `--help`, one line for each status."""
    return "Exit status:\n" + "\n".join(f"{code.value:>4}  {meaning}" for code, meaning in MEANINGS.items())
