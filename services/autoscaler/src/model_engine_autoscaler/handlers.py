"""What an event or a report changes in the autoscaler's view."""

import logging
from time import monotonic
from typing import Any

from nats.aio.msg import Msg
from pydantic import ValidationError

from model_engine_autoscaler.domain.demand import Demand
from model_engine_autoscaler.fleet import Fleet
from model_engine_autoscaler.repository import EndpointRepository
from model_engine_autoscaler.scaler import Scaler
from model_engine_contracts.demand import DemandReport, WakeUp
from model_engine_contracts.events import EndpointObserved, Event

log = logging.getLogger(__name__)


async def on_endpoint_event(fleet: Fleet, repository: EndpointRepository, event: Event[Any]) -> None:
    """Something of an endpoint changed: take its document as it is now."""
    endpoint_id = event.data.entity_id
    document = await repository.get(endpoint_id)
    if document is None:
        fleet.forget(endpoint_id)
    else:
        fleet.record_document(document)


async def on_observed(fleet: Fleet, event: Event[EndpointObserved]) -> None:
    """The workers of an endpoint changed."""
    fleet.record_observed(event.data)


async def on_demand(demand: Demand, message: Msg) -> None:
    """A gateway's report of the last second; one that cannot be read is dropped, the next one comes soon."""
    try:
        demand.record_report(DemandReport.model_validate_json(message.data), monotonic())
    except ValidationError as error:
        log.warning("unreadable demand report dropped", extra={"error": str(error)})


async def on_wake(demand: Demand, scaler: Scaler, message: Msg) -> None:
    """A gateway holds requests: decide for this endpoint now."""
    try:
        wake = WakeUp.model_validate_json(message.data)
    except ValidationError as error:
        log.warning("unreadable wake-up dropped", extra={"error": str(error)})
        return
    demand.record_wake(wake, monotonic())
    await scaler.wake(wake.endpoint_id)
