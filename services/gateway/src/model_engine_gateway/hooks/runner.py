"""Doing what hooks say: one attempt of a callback, and records to a sink."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from prometheus_client import Counter

from model_engine_chassis.outbound import AddressRefused, BasicAuth, ClientCertificate, OutboundClient, OutboundError
from model_engine_chassis.standard_webhooks import signed_headers
from model_engine_contracts.api.common import CallbackAuth, CallbackBasicAuth
from model_engine_gateway.clock import now
from model_engine_gateway.hooks.bodies import billing_record, logging_record
from model_engine_gateway.hooks.plan import BILLING, LOGGING, Callback, PlannedHooks
from model_engine_gateway.hooks.secrets import CallbackSecrets

log = logging.getLogger(__name__)

PAUSES = (1.0, 2.0)
"""Seconds before the second and the third attempt of a callback, which is the last."""

CALLBACKS = Counter("modelengine_gateway_callbacks_total", "Callbacks by what became of them.", ["outcome"])


class RecordSink(Protocol):
    """Where records of hooks go."""

    def emit(self, kind: str, record: Mapping[str, Any]) -> None:
        """Take one record of the kind `logging` or `billing`."""


class LogSink:
    """Writes each record as one line of the service's log, which an operator's collector ships."""

    def emit(self, kind: str, record: Mapping[str, Any]) -> None:
        """Write the line."""
        log.info("record of a hook", extra={"hook": kind, "record": dict(record)})


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one attempt: `error` is None when it was delivered; a `hopeless` one is not worth another."""

    error: str | None = None
    hopeless: bool = False


def pause_after(failed: Attempt, number: int) -> float | None:
    """Seconds until the attempt after this one, the `number`th; None where it was the last."""
    return None if failed.hopeless or number > len(PAUSES) else PAUSES[number - 1]


class HookRunner:
    """Runs hooks, each independent of the others."""

    def __init__(self, outbound: OutboundClient, secrets: CallbackSecrets, sink: RecordSink) -> None:
        self._outbound = outbound
        self._secrets = secrets
        self._sink = sink

    def record(self, hooks: PlannedHooks, task_id: str | None, body: bytes) -> None:
        """Write the records that the hooks ask for."""
        if LOGGING in hooks.names:
            self._emit(LOGGING, logging_record(hooks, body, now()))
        if BILLING in hooks.names:
            self._emit(BILLING, billing_record(hooks, task_id, now()))

    async def call_back(self, callback: Callback, delivery_id: str, body: bytes) -> Attempt:
        """Post once. `delivery_id` is the same at each attempt. Raises PyMongoError."""
        headers = {"content-type": "application/json", "user-agent": "model-engine-callbacks/1"}
        secret = await self._secrets.find(callback.signer)
        if secret is not None:
            headers |= signed_headers(secret, delivery_id, now(), body)
        try:
            answer = await self._outbound.post(callback.url, body, headers, _auth(callback.auth))
        except AddressRefused as error:
            return Attempt(str(error), hopeless=True)
        except OutboundError as error:
            return Attempt(str(error))
        return Attempt() if answer.is_success else Attempt(f"The receiver answered {answer.status}.")

    def _emit(self, kind: str, record: Mapping[str, Any]) -> None:
        try:
            self._sink.emit(kind, record)
        except Exception:
            log.exception("a record of a hook is lost", extra={"hook": kind})


def _auth(auth: CallbackAuth) -> BasicAuth | ClientCertificate:
    if isinstance(auth, CallbackBasicAuth):
        return BasicAuth(auth.username, auth.password)
    return ClientCertificate(auth.cert, auth.key)
