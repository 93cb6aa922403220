"""What owners can do with their subscriptions."""

from model_engine_chassis.history import History
from model_engine_chassis.outbound import OutboundClient, OutboundError
from model_engine_chassis.standard_webhooks import new_secret
from model_engine_contracts.api.subscriptions import (
    CreateEventSubscriptionRequest,
    CreateEventSubscriptionResponse,
    EventDelivery,
)
from model_engine_contracts.events import HISTORY_TYPES, SubscriptionCreated, SubscriptionDeleted, SubscriptionTested
from model_engine_contracts.ids import new_id
from model_engine_gateway.clock import now
from model_engine_gateway.domain.field_rules import check_text
from model_engine_gateway.domain.invalid import Invalid
from model_engine_gateway.endpoints import Endpoints
from model_engine_gateway.errors import ApiError
from model_engine_gateway.events import history_event
from model_engine_gateway.principals import Principal
from model_engine_gateway.webhooks.repository import SubscriptionRepository
from model_engine_gateway.webhooks.sender import Message, Sender
from model_engine_gateway.webhooks.subscription import Subscription

MAX_PER_OWNER = 50


class Subscriptions:
    """Creates, reads, tests and deletes subscriptions for their owners."""

    def __init__(
        self,
        subscriptions: SubscriptionRepository,
        endpoints: Endpoints,
        history: History,
        outbound: OutboundClient,
        sender: Sender,
    ) -> None:
        self._subscriptions = subscriptions
        self._endpoints = endpoints
        self._history = history
        self._outbound = outbound
        self._sender = sender

    async def create(
        self, caller: Principal, request: CreateEventSubscriptionRequest
    ) -> CreateEventSubscriptionResponse:
        """Subscribe a receiver. Raises Invalid, and ApiError 404 for an endpoint that is not the caller's."""
        check_text(endpoint_id=request.endpoint_id)
        _check_types(request.types)
        if request.endpoint_id is not None:
            await self._endpoints.get(caller, request.endpoint_id)
        if await self._subscriptions.count(caller.owner) >= MAX_PER_OWNER:
            raise Invalid(
                f"There are {MAX_PER_OWNER} event subscriptions already, which is the most. Delete one first.",
                "too_many_subscriptions",
            )
        try:
            await self._outbound.check(request.url)
        except OutboundError as refused:
            raise Invalid(f"url: {refused}", "invalid_url") from refused
        newest = await self._history.last_position()
        subscription = Subscription(
            id=new_id("sub"),
            owner=caller.owner,
            url=request.url,
            types=request.types,
            endpoint_id=request.endpoint_id,
            secret=new_secret(),
            created_by=caller.user,
            created_at=now(),
            # A position that does not exist yet would hide what happens until then.
            position=newest if request.after is None else min(request.after, newest),
        )
        created = SubscriptionCreated(subscription_id=subscription.id, created_by=caller.user)
        await self._subscriptions.insert(subscription, history_event(created, caller.owner))
        return CreateEventSubscriptionResponse(**subscription.wire().model_dump(), secret=subscription.secret)

    async def all(self, caller: Principal) -> list[Subscription]:
        """The caller's subscriptions."""
        return await self._subscriptions.owned(caller.owner)

    async def get(self, caller: Principal, subscription_id: str) -> Subscription:
        """One subscription. Raises ApiError 404."""
        found = await self._subscriptions.find_owned(caller.owner, subscription_id)
        if found is None:
            raise _not_found(subscription_id)
        return found

    async def delete(self, caller: Principal, subscription_id: str) -> None:
        """Unsubscribe. Raises ApiError 404."""
        event = history_event(SubscriptionDeleted(subscription_id=subscription_id), caller.owner)
        if not await self._subscriptions.delete(caller.owner, subscription_id, event):
            raise _not_found(subscription_id)

    async def test(self, caller: Principal, subscription_id: str) -> EventDelivery:
        """Send a test event now, once, also to one that is disabled. Raises ApiError 404."""
        subscription = await self.get(caller, subscription_id)
        event = history_event(SubscriptionTested(subscription_id=subscription_id), caller.owner)
        message = Message(event.id, event.type, event.model_dump_json(exclude_none=True), None)
        delivery = await self._sender.send(subscription, message, 1)
        await self._subscriptions.remember(subscription_id, delivery)
        return delivery

    async def deliveries(self, caller: Principal, subscription_id: str, limit: int) -> list[EventDelivery]:
        """The last attempts, newest first. Raises ApiError 404."""
        found = await self._subscriptions.deliveries(caller.owner, subscription_id, limit)
        if found is None:
            raise _not_found(subscription_id)
        return found


def _check_types(types: list[str] | None) -> None:
    for name in types or ():
        check_text(types=name)
        if name not in HISTORY_TYPES:
            known = ", ".join(sorted(HISTORY_TYPES))
            raise Invalid(f"types: {name[:100]!r} is not a type of event. There are: {known}", "unknown_event_type")


def _not_found(subscription_id: str) -> ApiError:
    return ApiError(404, f"Event subscription {subscription_id} was not found.", "subscription_not_found")
