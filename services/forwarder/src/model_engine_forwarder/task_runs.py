"""One async task at the model server: from its message to its outcome."""

import asyncio
import traceback
from dataclasses import dataclass

from pydantic import ValidationError

from model_engine_chassis import trace
from model_engine_chassis.puller import PermanentError, RetryLater
from model_engine_chassis.upstream import BadResponse, BodyTooLarge, Exchange, UpstreamError
from model_engine_contracts.events import Event, TaskOutcome, TaskSubmitted, parse_event
from model_engine_forwarder.config import SyncBlock
from model_engine_forwarder.envelope import EnvelopeError, plain_json, read_envelope, wrap_result
from model_engine_forwarder.errors import unreadable_answer
from model_engine_forwarder.json_bytes import NotJson
from model_engine_forwarder.messages import UPLOAD_HEADER
from model_engine_forwarder.model_server import ModelServer

BUSY_STATUSES = (429, 503)
"""The model server did not take the task and may take it later."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended; `result` is JSON text."""

    outcome: TaskOutcome
    result: str | None = None
    status_code: int | None = None
    error: str | None = None
    traceback: str | None = None


def read_task(raw: bytes) -> Event[TaskSubmitted]:
    """The task in a message. Raises PermanentError when there is none."""
    try:
        event = parse_event(raw)
    except ValidationError as error:
        problems = "; ".join(f"{problem['loc']}: {problem['msg']}" for problem in error.errors(include_input=False))
        raise PermanentError(f"not an event: {problems}") from error
    if not isinstance(event.data, TaskSubmitted):
        raise PermanentError(f"{event.type} is not a task")
    return event


def failure(error: BaseException, text: str = "") -> Outcome:
    """The outcome of a run that raised; the traceback is always there."""
    return Outcome(
        TaskOutcome.FAILURE,
        error=text or str(error) or type(error).__name__,
        traceback="".join(traceback.format_exception(error)),
    )


class TaskRuns:
    """Runs tasks as the async block says. `max_bytes` bounds the model server's answer."""

    def __init__(self, server: ModelServer, block: SyncBlock, max_bytes: int) -> None:
        self._server = server
        self._block = block
        self._target = block.predict_route.encode()
        self._max_bytes = max_bytes

    async def run(self, task: TaskSubmitted, *, last: bool) -> Outcome:
        """Run `task` once within its deadline.

        An HTTP error of the model server is a success with its status. Raises RetryLater when the model server was not
        reached, dropped the call or was busy, unless this is the `last` delivery: then that is the outcome.
        """
        try:
            envelope = read_envelope(task.request.encode())
            body = envelope.model_request(self._block.model_engine_unwrap)
            async with asyncio.timeout(task.timeout_seconds):
                status, answer = await self._call(body, task.upload_url if envelope.wants_upload else None)
        except EnvelopeError as error:
            return failure(error, f"The request is not usable: {error.problem['loc']}: {error}")
        except TimeoutError as error:
            return failure(error, f"The run took longer than its deadline of {task.timeout_seconds:g} s")
        except UpstreamError as error:
            if last or isinstance(error, (BadResponse, BodyTooLarge)):
                return failure(error, f"The call of the model server failed: {error}")
            raise RetryLater(f"the call of the model server failed: {error}") from error
        if status in BUSY_STATUSES and not last:
            raise RetryLater(f"the model server answered {status}")
        try:
            as_text = envelope.result_as_text(self._block.serialize_results_as_string)
            result = wrap_result(answer, as_text=as_text) if self._block.wrap_response else plain_json(answer)
        except NotJson as error:
            return failure(error, str(unreadable_answer(status, str(error), answer)))
        reported = status if self._block.forward_http_status_in_body else None
        return Outcome(TaskOutcome.SUCCESS, result=result.decode(), status_code=reported)

    async def _call(self, body: bytes, upload_url: str | None) -> tuple[int, bytes]:
        headers = [(name.encode(), value.encode()) for name, value in trace.outgoing_headers().items()]
        if upload_url is not None:
            headers.append((UPLOAD_HEADER, upload_url.encode()))
        return await self._server.post(self._target, body, headers, self._read)

    async def _read(self, answer: Exchange) -> tuple[int, bytes]:
        return answer.status, await answer.read(self._max_bytes)
