"""Settings of the inference routes."""

from pydantic import Field

from model_engine_chassis.settings_base import ServiceSettings

MIB = 1 << 20


class InferenceSettings(ServiceSettings):
    """Bounds and times of predictions. Times in seconds, sizes in bytes."""

    max_request_bytes: int = Field(default=32 * MIB, gt=0, description="largest body of a prediction")
    max_response_bytes: int = Field(default=64 * MIB, gt=0, description="largest answer of a worker to a sync call")
    max_predictions: int = Field(default=4000, gt=0, description="predictions in one gateway process; beyond: 429")
    hold_max_requests: int = Field(
        default=1000, gt=0, description="requests per endpoint and gateway that wait for a worker; beyond: 429"
    )
    hold_max_bytes: int = Field(default=64 * MIB, gt=0, description="bytes of one endpoint's waiting requests")
    hold_max_total_bytes: int = Field(default=256 * MIB, gt=0, description="bytes of all waiting requests")
    request_timeout_seconds: float = Field(
        default=300.0, gt=0, description="limit of a call that gives no timeout_seconds, waiting included"
    )
    max_timeout_seconds: float = Field(default=3600.0, gt=0, description="cap of a caller's timeout_seconds")
    connect_timeout_seconds: float = Field(default=5.0, gt=0, description="connecting to a worker")
    stream_idle_seconds: float = Field(default=300.0, gt=0, description="silence of a worker within its answer")
    body_timeout_seconds: float = Field(default=60.0, gt=0, description="receiving the body of a request")
    worker_connections: int = Field(default=512, gt=0, description="connections to one worker")
