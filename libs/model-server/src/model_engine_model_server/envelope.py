"""The body of a prediction request: which input it carries, checked."""

import json
from typing import Any

from model_engine_model_server.predictor import Inputs, InvalidInputError


def read_inputs(body: bytes) -> Inputs:
    """The input of an envelope, by precedence `url`, `args`, `cloudpickle`; raises InvalidInputError."""
    envelope = _read_object(body)
    pickled = bool(envelope.get("return_pickled"))
    url, args = envelope.get("url"), envelope.get("args")
    if url is not None:
        if not isinstance(url, str):
            raise InvalidInputError("url: must be a text such as https://host/path.")
        return Inputs(url=url, return_pickled=pickled)
    if args is not None:
        if not isinstance(args, dict):
            raise InvalidInputError("args: must be an object; its keys are the predict function's arguments.")
        return Inputs(keywords=args, return_pickled=pickled)
    pickle_url = envelope.get("cloudpickle")
    if pickle_url is not None:
        if not isinstance(pickle_url, str):
            raise InvalidInputError("cloudpickle: must be the address of a pickled {args, kwargs}, a text.")
        return Inputs(pickle_url=pickle_url, return_pickled=True)
    raise InvalidInputError(
        "The request has no input: set args to an object of the predict function's arguments, or set url."
    )


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"The body is not JSON: {error}.") from error
    if not isinstance(envelope, dict):
        raise InvalidInputError("The body must be a JSON object.")
    return envelope
