"""What the builder remembers of one endpoint: how far its newest generation is, and what serves."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from model_engine_contracts.documents import EndpointSpec
from model_engine_contracts.failures import FailureInfo


class RolloutPhase(StrEnum):
    """PREPARING: the environment is being made. ROLLING_OUT: workers start. SUCCEEDED: one of them answered. FAILED:
    this generation does not work; the last good one serves on. DELETING: the workers go. RELEASED: nothing is left.
    """

    PREPARING = "PREPARING"
    ROLLING_OUT = "ROLLING_OUT"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    DELETING = "DELETING"
    RELEASED = "RELEASED"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Serving(_Part):
    """The last good generation, whole, so that it can be applied again however old it is."""

    generation: int
    revision: str
    environment_key: str
    artifact_version: str | None = None
    spec: EndpointSpec


class Rollout(_Part):
    """One document of `rollouts`. `since` is when the phase began, `deadline` when it must be over.

    `attempt` counts how often this generation was begun anew, after the runtime lost it or was away. `revision` is the
    template of this generation; `applied_revision` is what the runtime was given last, under `applied_generation`: that
    is another one while the environment of a new generation is made and after the last good one was put back, and None
    after the runtime has lost it. `artifact_version` is what the artifact's source named when the environment was
    asked for, where no hash is known. `lease_epoch` fences the writes:
    one of an older lease never replaces one of a newer. `builder` is the instance that wrote it.
    """

    endpoint_id: str = Field(alias="_id")
    generation: int
    attempt: int = 0
    phase: RolloutPhase
    since: datetime
    deadline: datetime | None = None
    environment_key: str | None = None
    artifact_version: str | None = None
    build_started: bool = False
    revision: str | None = None
    applied_revision: str | None = None
    applied_generation: int | None = None
    failure: FailureInfo | None = None
    serving: Serving | None = None
    lease_epoch: int = 0
    builder: str = ""
