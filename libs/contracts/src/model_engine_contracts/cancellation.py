"""What a gateway tells the workers of an endpoint on core NATS when a task is cancelled."""

from pydantic import BaseModel, Field


class CancelledTask(BaseModel):
    """This attempt of the task, and every earlier one, is not wanted any more: its result would be dropped."""

    task_id: str
    attempt: int = Field(ge=1)
