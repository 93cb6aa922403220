"""Why an endpoint fails: stable codes, and for each its cause and remedy as data."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Reason(StrEnum):
    """Stable reason codes; every value equals its name, so a code in a document can be grepped in this file."""

    REQUIREMENTS_UNRESOLVABLE = "REQUIREMENTS_UNRESOLVABLE"
    BUILD_FAILED = "BUILD_FAILED"
    BUILD_TIMEOUT = "BUILD_TIMEOUT"
    ARTIFACT_MISSING = "ARTIFACT_MISSING"
    ARTIFACT_CORRUPT = "ARTIFACT_CORRUPT"
    PYTHON_MISMATCH = "PYTHON_MISMATCH"
    REGISTRY_UNAVAILABLE = "REGISTRY_UNAVAILABLE"
    FLAVOR_UNSUPPORTED = "FLAVOR_UNSUPPORTED"
    UNSCHEDULABLE = "UNSCHEDULABLE"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    ADMISSION_DENIED = "ADMISSION_DENIED"
    IMAGE_NOT_FOUND = "IMAGE_NOT_FOUND"
    IMAGE_PULL_FAILED = "IMAGE_PULL_FAILED"
    DISK_FULL = "DISK_FULL"
    IMPORT_ERROR = "IMPORT_ERROR"
    MODEL_LOAD_FAILED = "MODEL_LOAD_FAILED"
    PREDICT_FUNCTION_MISSING = "PREDICT_FUNCTION_MISSING"
    EXITED = "EXITED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    PORT_CLOSED = "PORT_CLOSED"
    PROBE_FAILED = "PROBE_FAILED"
    NEVER_READY = "NEVER_READY"
    CRASH_LOOP = "CRASH_LOOP"
    EVICTED = "EVICTED"
    NODE_LOST = "NODE_LOST"
    RUNTIME_UNAVAILABLE = "RUNTIME_UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class FailureKind:
    """One entry of the catalogue: what happened, what to do about it, whether the same revision may succeed later."""

    cause: str
    remedy: str
    retryable: bool = False


CATALOGUE: dict[Reason, FailureKind] = {
    Reason.REQUIREMENTS_UNRESOLVABLE: FailureKind(
        "The bundle's requirements cannot be installed together, or one of them does not exist.",
        "Try the same lines with `uv pip install` and correct the bundle's requirements.",
    ),
    Reason.BUILD_FAILED: FailureKind(
        "Preparing the environment failed.",
        "Read the build log (`model-engine logs ENDPOINT --source build`) and correct the bundle.",
    ),
    Reason.BUILD_TIMEOUT: FailureKind(
        "Preparing the environment took longer than its deadline.",
        "Reduce the requirements, prefer packages with ready wheels, or ask the operator for a longer deadline.",
        retryable=True,
    ),
    Reason.ARTIFACT_MISSING: FailureKind(
        "The bundle's artifact cannot be read at its location.",
        "Make the location readable, or upload the artifact (POST /v1/artifacts) and create a bundle with the location "
        "that it answers.",
    ),
    Reason.ARTIFACT_CORRUPT: FailureKind(
        "The artifact is not what was uploaded, or is not a readable pickle or zip file.",
        "Build the artifact again, check that it loads where it was made, and upload it again.",
    ),
    Reason.PYTHON_MISMATCH: FailureKind(
        "The Python version that made the bundle is not available to the workers.",
        "Make the bundle with a Python version that the runtime has, or ask the operator to install it.",
    ),
    Reason.REGISTRY_UNAVAILABLE: FailureKind(
        "The package or image registry did not answer.",
        "Wait and restart the endpoint; if it lasts, ask the operator to check the workers' network.",
        retryable=True,
    ),
    Reason.FLAVOR_UNSUPPORTED: FailureKind(
        "The runtime in use cannot execute bundles of this flavor.",
        "Use a cloudpickle or zip artifact here, or deploy this bundle on a runtime that runs images (Kubernetes).",
    ),
    Reason.UNSCHEDULABLE: FailureKind(
        "No machine has the resources that one worker asks for.",
        "Ask for fewer cores, less memory or another GPU type, or add machines.",
        retryable=True,
    ),
    Reason.QUOTA_EXCEEDED: FailureKind(
        "The quota of the namespace is used up.",
        "Delete what is not needed, lower max_workers, or ask the operator for a larger quota.",
        retryable=True,
    ),
    Reason.ADMISSION_DENIED: FailureKind(
        "The cluster's admission policy refused the workers.",
        "Read the message of the policy and change the endpoint's spec accordingly.",
    ),
    Reason.IMAGE_NOT_FOUND: FailureKind(
        "The image does not exist in its registry.",
        "Check repository and tag of the bundle, and push the image.",
    ),
    Reason.IMAGE_PULL_FAILED: FailureKind(
        "The image exists but could not be pulled.",
        "Check the registry's credentials and its rate limits, then restart the endpoint.",
        retryable=True,
    ),
    Reason.DISK_FULL: FailureKind(
        "The disk of the machine is full.",
        "Free or add disk space where workers run, then restart the endpoint.",
        retryable=True,
    ),
    Reason.IMPORT_ERROR: FailureKind(
        "The bundle's code imports a module that its environment lacks.",
        "Add the missing package to the bundle's requirements.",
    ),
    Reason.MODEL_LOAD_FAILED: FailureKind(
        "Loading the model raised an exception.",
        "Read the traceback (`model-engine describe ENDPOINT`), correct load_model_fn or load_predict_fn, deploy anew.",
    ),
    Reason.PREDICT_FUNCTION_MISSING: FailureKind(
        "The bundle has no predict function where its flavor says it is.",
        "Name an existing load_predict_fn in the bundle; for cloudpickle give a callable or a dictionary with one.",
    ),
    Reason.EXITED: FailureKind(
        "The model server ended by itself.",
        "Read the last lines of its log (`model-engine describe ENDPOINT`) and correct the bundle.",
    ),
    Reason.OUT_OF_MEMORY: FailureKind(
        "A worker used more memory than the endpoint asks for and was stopped.",
        "Raise the endpoint's memory, or lower what one worker does at once (concurrent_requests_per_worker).",
    ),
    Reason.PORT_CLOSED: FailureKind(
        "The model server runs but does not listen on the port it was given.",
        "Let the server listen on the port in the environment variable PORT.",
    ),
    Reason.PROBE_FAILED: FailureKind(
        "The model server's readiness route answers with an error.",
        "Open the readiness route of the server where it was built and mend what it reports.",
    ),
    Reason.NEVER_READY: FailureKind(
        "No worker answered its readiness route before the start deadline.",
        "Read the worker log; speed up loading or ask for a longer start deadline.",
    ),
    Reason.CRASH_LOOP: FailureKind(
        "The worker exited three times within a minute.",
        "Read the worker log (`model-engine logs ENDPOINT`) and correct the bundle; an update starts anew.",
    ),
    Reason.EVICTED: FailureKind(
        "The cluster evicted the worker.",
        "Usually another machine takes over by itself; if it repeats, lower the endpoint's resource use.",
        retryable=True,
    ),
    Reason.NODE_LOST: FailureKind(
        "The machine of the worker is gone.",
        "Another machine takes over by itself; if none is left, add one.",
        retryable=True,
    ),
    Reason.RUNTIME_UNAVAILABLE: FailureKind(
        "The runtime that starts workers does not answer.",
        "Ask the operator to check the agent or the cluster; the rollout goes on by itself when it is back.",
        retryable=True,
    ),
}


class FailureInfo(BaseModel):
    """A failure as events and documents carry it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    code: Reason
    message: str
    remedy: str
    exit_code: int | None = None
    log_tail: str = ""


def failure_info(reason: Reason, message: str = "", exit_code: int | None = None, log_tail: str = "") -> FailureInfo:
    """A failure with its remedy from the catalogue; an empty message becomes the catalogue's cause."""
    kind = CATALOGUE[reason]
    return FailureInfo(
        code=reason, message=message or kind.cause, remedy=kind.remedy, exit_code=exit_code, log_tail=log_tail
    )
