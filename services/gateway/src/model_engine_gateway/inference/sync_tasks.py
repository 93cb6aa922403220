"""POST /v1/sync-tasks: one request, one answer."""

import asyncio
from typing import NamedTuple, Protocol

from model_engine_chassis.asgi_server import Receive, Scope, Send
from model_engine_chassis.upstream import BodyTooLarge, UpstreamError, UpstreamTimeout
from model_engine_contracts.endpoint_states import EndpointType
from model_engine_gateway.errors import ApiError
from model_engine_gateway.hooks.plan import PlannedHooks, plan_hooks
from model_engine_gateway.inference.answers import (
    NO_HEALTHY_UPSTREAM,
    TIMED_OUT,
    TOO_MANY_REQUESTS,
    failure,
    sync_answer,
)
from model_engine_gateway.inference.asgi import respond, until_client_gone, worker_header
from model_engine_gateway.inference.dispatch import Call, Dispatcher, NoAnswer
from model_engine_gateway.inference.routing import Intake, loop_deadline, require_type

TARGET = b"/predict"


class _Answer(NamedTuple):
    """The envelope for the client, and what hooks are told: the worker's answer, or the envelope of a failure."""

    body: bytes
    for_hooks: bytes
    headers: tuple[tuple[bytes, bytes], ...]


class Hooks(Protocol):
    """Runs hooks after a call."""

    def after(self, hooks: PlannedHooks, answer: bytes) -> None:
        """A call was answered with this JSON. Returns at once."""


class SyncTasks:
    """The handler of the route."""

    def __init__(self, intake: Intake, dispatcher: Dispatcher, hooks: Hooks, max_response_bytes: int) -> None:
        self._intake = intake
        self._dispatcher = dispatcher
        self._hooks = hooks
        self._max_response_bytes = max_response_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Serve one request; returns the HTTP status. Raises ApiError and ClientGone."""
        principal, request, endpoint = await self._intake.read_call(scope, receive)
        require_type(endpoint, (EndpointType.SYNC, EndpointType.STREAMING), "does not serve sync tasks")
        with until_client_gone(receive):
            answer = await self._predict(self._intake.call(request, TARGET))
        if endpoint.hooks is not None:
            auth = request.callback_auth
            planned = plan_hooks(endpoint.hooks, principal.owner, request.body, request.callback_url, auth)
            self._hooks.after(planned, answer.for_hooks)
        await respond(send, answer.body, headers=answer.headers)
        return 200

    async def _predict(self, call: Call) -> _Answer:
        try:
            async with asyncio.timeout_at(loop_deadline(call)), self._dispatcher.open(call) as (answer, worker):
                said = await answer.read(self._max_response_bytes)
                body = sync_answer(answer.status, said)
                return _Answer(body, said if 200 <= answer.status < 300 else body, (worker_header(worker),))
        except (TimeoutError, UpstreamTimeout) as error:
            raise ApiError(408, TIMED_OUT, "request_timed_out") from error
        except NoAnswer as error:
            body = failure(refusal(error.status), error.status)
            return _Answer(body, body, ())
        except BodyTooLarge as error:
            text = f"The worker's answer is larger than {self._max_response_bytes} bytes."
            raise ApiError(502, text, "worker_answer_too_large") from error
        except UpstreamError as error:
            text = f"The worker failed before it answered; the request may have run. ({error})"
            raise ApiError(502, text, "worker_failed") from error


def refusal(status: int) -> str:
    """The text for what every worker said: 429 or 503."""
    return TOO_MANY_REQUESTS if status == 429 else NO_HEALTHY_UPSTREAM
