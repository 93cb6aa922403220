"""The routes of event subscriptions."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from model_engine_contracts.api.subscriptions import (
    MAX_DELIVERIES,
    CreateEventSubscriptionRequest,
    CreateEventSubscriptionResponse,
    DeleteEventSubscriptionResponse,
    EventDelivery,
    EventSubscriptionResponse,
    ListEventDeliveriesResponse,
    ListEventSubscriptionsResponse,
)
from model_engine_gateway.control.routing import Caller, answer
from model_engine_gateway.webhooks.subscriptions import Subscriptions

Limit = Annotated[int, Query(ge=1, le=MAX_DELIVERIES, description="how many at most")]


def add_subscription_routes(router: APIRouter, subscriptions: Subscriptions) -> None:
    """Create, list, get, delete, test, deliveries."""

    @router.post("/v1/event-subscriptions", response_model=CreateEventSubscriptionResponse)
    async def create_event_subscription(caller: Caller, request: CreateEventSubscriptionRequest) -> Response:
        """Subscribes a webhook to events; the secret that signs them is in this answer only."""
        return answer(await subscriptions.create(caller, request))

    @router.get("/v1/event-subscriptions", response_model=ListEventSubscriptionsResponse)
    async def list_event_subscriptions(caller: Caller) -> Response:
        """Lists the caller's webhooks."""
        found = await subscriptions.all(caller)
        return answer(ListEventSubscriptionsResponse(event_subscriptions=[one.wire() for one in found]))

    @router.get("/v1/event-subscriptions/{subscription_id}", response_model=EventSubscriptionResponse)
    async def get_event_subscription(caller: Caller, subscription_id: str) -> Response:
        """Gets one webhook: how far it is, and since when it fails."""
        return answer((await subscriptions.get(caller, subscription_id)).wire())

    @router.delete("/v1/event-subscriptions/{subscription_id}", response_model=DeleteEventSubscriptionResponse)
    async def delete_event_subscription(caller: Caller, subscription_id: str) -> Response:
        """Unsubscribes a webhook."""
        await subscriptions.delete(caller, subscription_id)
        return answer(DeleteEventSubscriptionResponse(deleted=True))

    @router.post("/v1/event-subscriptions/{subscription_id}/test", response_model=EventDelivery)
    async def test_event_subscription(caller: Caller, subscription_id: str) -> Response:
        """Sends a test event to a webhook now and says what became of it."""
        return answer(await subscriptions.test(caller, subscription_id))

    @router.get("/v1/event-subscriptions/{subscription_id}/deliveries", response_model=ListEventDeliveriesResponse)
    async def list_event_deliveries(caller: Caller, subscription_id: str, limit: Limit = 50) -> Response:
        """Lists the last attempts to deliver events to a webhook, newest first."""
        return answer(
            ListEventDeliveriesResponse(deliveries=await subscriptions.deliveries(caller, subscription_id, limit))
        )
