"""One attempt to post one event to one receiver, signed by Standard Webhooks."""

import time
from dataclasses import dataclass

from prometheus_client import Counter, Histogram

from model_engine_chassis.outbound import OutboundClient, OutboundError
from model_engine_chassis.standard_webhooks import signed_headers
from model_engine_contracts.api.subscriptions import EventDelivery
from model_engine_gateway.clock import now
from model_engine_gateway.webhooks.subscription import Subscription

_DELIVERIES = Counter("modelengine_webhook_deliveries_total", "Attempts to deliver an event to a webhook.", ["outcome"])
_SECONDS = Histogram("modelengine_webhook_delivery_seconds", "How long one attempt took.")


@dataclass(frozen=True, slots=True)
class Message:
    """An event to send: its id, which is the same at each attempt, and its CloudEvents JSON."""

    event_id: str
    type: str
    text: str
    position: int | None


class Sender:
    """Sends messages to subscriptions."""

    def __init__(self, outbound: OutboundClient) -> None:
        self._outbound = outbound

    async def send(self, subscription: Subscription, message: Message, attempt: int) -> EventDelivery:
        """Post once; what became of it, errors included. A status of 200 to 299 means delivered."""
        at, began = now(), time.monotonic()
        body = message.text.encode()
        headers = {
            "content-type": "application/cloudevents+json; charset=utf-8",
            "user-agent": "model-engine-webhooks/1",
            **signed_headers(subscription.secret, message.event_id, at, body),
        }
        status: int | None = None
        error: str | None = None
        try:
            answer = await self._outbound.post(subscription.url, body, headers)
            status = answer.status
            if not answer.is_success:
                error = f"The receiver answered {status}."
        except OutboundError as refused:
            error = str(refused)
        seconds = time.monotonic() - began
        _DELIVERIES.labels(outcome="delivered" if error is None else "failed").inc()
        _SECONDS.observe(seconds)
        return EventDelivery(
            at=at,
            event_id=message.event_id,
            type=message.type,
            position=message.position,
            attempt=attempt,
            delivered=error is None,
            status_code=status,
            error=error,
            seconds=round(seconds, 3),
        )
