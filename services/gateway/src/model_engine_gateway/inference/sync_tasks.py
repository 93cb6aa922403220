"""POST /v1/sync-tasks: one request, one answer."""

import asyncio

from model_engine_chassis.asgi_server import Receive, Scope, Send
from model_engine_chassis.upstream import BodyTooLarge, UpstreamError, UpstreamTimeout
from model_engine_contracts.endpoint_states import EndpointType
from model_engine_gateway.errors import ApiError
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


class SyncTasks:
    """The handler of the route."""

    def __init__(self, intake: Intake, dispatcher: Dispatcher, max_response_bytes: int) -> None:
        self._intake = intake
        self._dispatcher = dispatcher
        self._max_response_bytes = max_response_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Serve one request; returns the HTTP status. Raises ApiError and ClientGone."""
        request, endpoint = await self._intake.read_call(scope, receive)
        require_type(endpoint, (EndpointType.SYNC, EndpointType.STREAMING), "does not serve sync tasks")
        with until_client_gone(receive):
            body, headers = await self._predict(self._intake.call(request, TARGET))
        await respond(send, body, headers=headers)
        return 200

    async def _predict(self, call: Call) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
        try:
            async with asyncio.timeout_at(loop_deadline(call)), self._dispatcher.open(call) as (answer, worker):
                body = sync_answer(answer.status, await answer.read(self._max_response_bytes))
                return body, (worker_header(worker),)
        except (TimeoutError, UpstreamTimeout) as error:
            raise ApiError(408, TIMED_OUT, "request_timed_out") from error
        except NoAnswer as error:
            return failure(refusal(error.status), error.status), ()
        except BodyTooLarge as error:
            text = f"The worker's answer is larger than {self._max_response_bytes} bytes."
            raise ApiError(502, text, "worker_answer_too_large") from error
        except UpstreamError as error:
            text = f"The worker failed before it answered; the request may have run. ({error})"
            raise ApiError(502, text, "worker_failed") from error


def refusal(status: int) -> str:
    """The text for what every worker said: 429 or 503."""
    return TOO_MANY_REQUESTS if status == 429 else NO_HEALTHY_UPSTREAM
