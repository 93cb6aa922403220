"""Calls to addresses that users give: callbacks and webhooks. Nothing else of the platform calls such an address."""

from model_engine_chassis.outbound.addresses import AddressRefused, Network, OutboundError
from model_engine_chassis.outbound.client import (
    BasicAuth,
    ClientCertificate,
    OutboundAnswer,
    OutboundClient,
    OutboundFailed,
)

__all__ = [
    "AddressRefused",
    "BasicAuth",
    "ClientCertificate",
    "Network",
    "OutboundAnswer",
    "OutboundClient",
    "OutboundError",
    "OutboundFailed",
]
