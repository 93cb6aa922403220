"""What a prediction answered: the value that the predict function gave, taken out of its wrappings."""

import json
from typing import Any

from model_engine.errors import InvalidAnswerError, PredictionError
from model_engine.sse import SseFrame
from model_engine_contracts.api.tasks import GetAsyncTaskV1Response, SyncEndpointPredictV1Response, TaskStatus


def prediction_value(answer: SyncEndpointPredictV1Response | GetAsyncTaskV1Response) -> Any:
    """The value of a finished call or task; raises PredictionError when it failed.

    A task whose model server answered with an error is a SUCCESS on the wire; here it is a failure like any other.
    """
    status = answer.status_code
    if answer.status is not TaskStatus.SUCCESS or (status is not None and status >= 400):
        raise PredictionError(answer.traceback or _failure_text(answer.result), status)
    return _unwrap(answer.result)


def streamed_value(frame: SseFrame) -> Any:
    """The value that one event of a streaming call carries; raises PredictionError when it reports a failure."""
    try:
        event = json.loads(frame.data)
    except ValueError as error:
        raise InvalidAnswerError(f"An event of the stream is not JSON: {frame.data[:200]}") from error
    if event.get("status") != TaskStatus.SUCCESS:
        raise PredictionError(event.get("traceback"), event.get("status_code"))
    result = event.get("result")
    return result["result"] if isinstance(result, dict) and "result" in result else result


def _unwrap(result: Any) -> Any:
    if not isinstance(result, dict) or "result" not in result:
        return result
    value = result["result"]
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _failure_text(result: Any) -> str | None:
    """The traceback, or else the text, of what a model server answered with an error status."""
    body = _unwrap(result)
    detail = body.get("detail", body) if isinstance(body, dict) else body
    if isinstance(detail, dict) and "traceback" in detail:
        return str(detail["traceback"])
    return None if detail is None else detail if isinstance(detail, str) else json.dumps(detail)
