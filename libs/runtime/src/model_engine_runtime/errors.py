"""What the runtime answers when it does not take a call.

RuntimeProtocolError
├── RuntimeUnavailable    no answer in time: whether the call was taken is unknown; repeat it
├── StaleGeneration       a newer generation is stored, or the endpoint is deleted
├── StaleLeader           a leader with a newer epoch has scaled
├── ForeignInstallation   the runtime belongs to another database
├── EnvironmentInUse      workers or a build need it
├── EnvironmentNotReady   it is not prepared: prepare it first
├── UnknownEndpoint       no workers and no environment of this id
└── InvalidRequest        the call is malformed; repeating it cannot help
"""


class RuntimeProtocolError(Exception):
    """Base of all errors of the Runtime protocol."""


class RuntimeUnavailable(RuntimeProtocolError):
    """The runtime does not answer, or its watch has been silent for too long."""


class StaleGeneration(RuntimeProtocolError):
    """The call is about an older generation than the runtime has, or about a deleted endpoint."""


class StaleLeader(RuntimeProtocolError):
    """The call carries an older epoch than the runtime has seen: its sender leads no more."""


class ForeignInstallation(RuntimeProtocolError):
    """Another installation has claimed this runtime and still has workers in it."""


class EnvironmentInUse(RuntimeProtocolError):
    """The environment cannot be removed now."""


class EnvironmentNotReady(RuntimeProtocolError):
    """Workers cannot be started from an environment that is not READY."""


class UnknownEndpoint(RuntimeProtocolError):
    """Nothing of this id is in the runtime."""


class InvalidRequest(RuntimeProtocolError):
    """The request names something impossible; the message says what."""


ERRORS: dict[str, type[RuntimeProtocolError]] = {
    error.__name__: error
    for error in (
        RuntimeUnavailable,
        StaleGeneration,
        StaleLeader,
        ForeignInstallation,
        EnvironmentInUse,
        EnvironmentNotReady,
        UnknownEndpoint,
        InvalidRequest,
    )
}
"""By name, as they travel."""
