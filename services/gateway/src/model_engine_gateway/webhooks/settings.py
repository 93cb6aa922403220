"""Settings of webhooks."""

from pydantic import Field

from model_engine_chassis.settings_base import OutboundSettings


class WebhookSettings(OutboundSettings):
    """How long receivers are waited for, in seconds."""

    webhook_retry_seconds: float = Field(
        default=86_400.0, gt=0, description="how long deliveries to a failing webhook are tried before it is disabled"
    )
