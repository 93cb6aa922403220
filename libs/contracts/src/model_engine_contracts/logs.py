"""Reading logs: the request that a gateway sends to the builders over core NATS and the frames that come back.

A request goes to `subjects.logs_subject(endpoint_id)`; one builder (queue group `builders`) publishes frames to the
reply subject: text in the payload, and the header `Me-End: true` on the last one (with `Me-Error` after an error).

A builder with nothing to say for KEEPALIVE_SECONDS sends an empty frame as a request of its own. The reader need not
answer it: when the reader is gone, the server answers "no responders", and the builder stops. A reader that hears
nothing for SILENCE_SECONDS takes the builder for gone.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

LOG_QUEUE_GROUP = "builders"
END_HEADER = "Me-End"
ERROR_HEADER = "Me-Error"
KEEPALIVE_SECONDS = 10.0
SILENCE_SECONDS = 30.0


class LogRequest(BaseModel):
    """Which log: `build` is the environment's, `worker` one worker's (null: all of the endpoint's)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    endpoint_id: str
    source: Literal["build", "worker"]
    worker: str | None = None
    previous: bool = False
    follow: bool = False
