"""Demand: what gateways tell the autoscaler over core NATS. Not stored: a report is stale after three seconds."""

from pydantic import BaseModel, ConfigDict, Field

STALE_AFTER_SECONDS = 3.0
REPORT_INTERVAL_SECONDS = 1.0
WAKE_INTERVAL_SECONDS = 0.2


class EndpointDemand(BaseModel):
    """The load of one endpoint as one gateway sees it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    in_flight: int = Field(ge=0, description="requests at a worker now")
    waiting: int = Field(ge=0, description="requests held until a worker is there")
    average: float = Field(ge=0, description="mean of in_flight + waiting over the reported interval")


class DemandReport(BaseModel):
    """One report of one gateway: the endpoints with any demand in the last interval."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    gateway: str
    endpoints: dict[str, EndpointDemand]


class WakeUp(BaseModel):
    """A gateway has work for an endpoint that has no worker; repeated until there is one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    gateway: str
    endpoint_id: str
    waiting: int = Field(ge=0)
