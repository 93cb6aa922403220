"""Settings of async tasks."""

from pydantic import Field

from model_engine_chassis.settings_base import ServiceSettings
from model_engine_contracts.topology import TASKS

MAX_TASK_BYTES = (TASKS.max_msg_size - 8192) // 2
"""A request of this size fits into a message whatever is in it: as text inside JSON it at most doubles."""


class TaskSettings(ServiceSettings):
    """Bounds and times of async tasks. Times in seconds, sizes in bytes."""

    max_task_bytes: int = Field(
        default=MAX_TASK_BYTES, gt=0, le=MAX_TASK_BYTES, description="largest body of an async task"
    )
    max_task_requests: int = Field(
        default=4000,
        gt=0,
        description="submissions, and apart from them reads, of tasks in one gateway process; beyond: 429",
    )
    gateway_url: str | None = Field(
        default=None,
        pattern="^https?://",
        description="where workers reach the gateway, to send large and pickled results; without it they cannot",
    )
    public_url: str | None = Field(
        default=None, pattern="^https?://", description="where clients reach it, to read them; default: ME_GATEWAY_URL"
    )
    max_result_bytes: int = Field(default=2 << 30, gt=0, description="largest result that a worker may send")
    max_inline_result_bytes: int = Field(
        default=16 << 20, ge=0, description="larger results of async tasks are answered as result_url"
    )
    task_retention_seconds: int = Field(
        default=7 * 86_400, ge=86_400, description="how long a finished task and its result can be read"
    )
    task_sweep_seconds: float = Field(
        default=5.0, gt=0, description="how often tasks that expired or were not delivered are looked for"
    )
