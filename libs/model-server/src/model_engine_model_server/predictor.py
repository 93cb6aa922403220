"""Calls the predict function in all its shapes and turns what it gives into JSON text.

A function may be plain or async, and may return a value or give values one by one (a generator, an async generator or
any other iterator). `predict` answers one JSON text, a list when the function gave values one by one; `stream` answers
one JSON text per value, a single one when the function returned.
"""

import json
import logging
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from model_engine_model_server.slots import Slot, Slots

logger = logging.getLogger(__name__)

_END = object()


class InvalidInputError(ValueError):
    """The request cannot be served as it is; the text names the field and the remedy."""


class PredictError(Exception):
    """The predict function raised; `traceback_text` shows where, without this package's frames."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.traceback_text = _traceback_of_user_code(error)


@dataclass(frozen=True)
class Inputs:
    """What one request hands to the predict function: keyword arguments, or the bytes behind a URL."""

    keywords: dict[str, Any] = field(default_factory=dict)
    url: str | None = None


class Predictor:
    """The predict function with its slots; `download` gets the bytes of a URL and may block."""

    def __init__(self, function: Callable[..., Any], slots: Slots, download: Callable[[str], bytes]) -> None:
        self._function = function
        self._slots = slots
        self._download = download

    async def predict(self, inputs: Inputs) -> str:
        """The output as one JSON text; raises TooManyRequestsError, InvalidInputError and PredictError."""
        async with self._slots.take() as slot:
            with _user_code():
                result = await self._call(slot, inputs)
                if isinstance(result, str):
                    return result
                async with aclosing(_texts(slot, result)) as texts:
                    return "[" + ", ".join([text async for text in texts]) + "]"

    async def stream(self, inputs: Inputs) -> AsyncGenerator[str, None]:
        """The output as JSON texts; close the generator to stop the function. Raises like `predict`."""
        async with self._slots.take() as slot:
            with _user_code():
                result = await self._call(slot, inputs)
                if isinstance(result, str):
                    yield result
                    return
                async with aclosing(_texts(slot, result)) as texts:
                    async for text in texts:
                        yield text

    async def _call(self, slot: Slot, inputs: Inputs) -> str | Iterator[Any] | AsyncIterator[Any]:
        """JSON text, or the iterator that the function returned."""
        result = await slot.run(self._call_on_thread, inputs)
        if isinstance(result, Awaitable):
            result = await result
            if not isinstance(result, (Iterator, AsyncIterator)):
                return encode(result)
        return result

    def _call_on_thread(self, inputs: Inputs) -> str | Iterator[Any] | AsyncIterator[Any] | Awaitable[Any]:
        positional = [] if inputs.url is None else [self._download(inputs.url)]
        result = self._function(*positional, **inputs.keywords)
        # An async function has done nothing yet: its coroutine runs on the event loop.
        return result if isinstance(result, (Iterator, AsyncIterator, Awaitable)) else encode(result)


def encode(value: Any) -> str:
    """JSON text with Python's default separators; arrays and scalars of numpy, torch and the like become lists."""
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    if callable(getattr(value, "tolist", None)):
        return value.tolist()
    raise TypeError(f"The predict function gave an object of type {type(value).__name__}, which JSON cannot express.")


@contextmanager
def _user_code() -> Generator[None, None, None]:
    """Turns what the bundle's code raises, sys.exit() included, into PredictError."""
    try:
        yield
    except InvalidInputError:
        raise
    except (Exception, SystemExit) as error:
        logger.exception("The predict function raised.")
        raise PredictError(error) from error


def _traceback_of_user_code(error: BaseException) -> str:
    entry = user_entry = error.__traceback__
    while entry is not None:
        if entry.tb_frame.f_globals.get("__name__") in (__name__, Slot.__module__):
            user_entry = entry.tb_next
        entry = entry.tb_next
    return "".join(traceback.format_exception(type(error), error, user_entry or error.__traceback__))


async def _texts(slot: Slot, values: Iterator[Any] | AsyncIterator[Any]) -> AsyncGenerator[str, None]:
    """Each value as JSON text; closing this closes `values` too, on the thread that ran it."""
    if isinstance(values, AsyncIterator):
        try:
            async for value in values:
                yield encode(value)
        finally:
            if isinstance(values, AsyncGenerator):
                await values.aclose()
        return
    try:
        while (text := await slot.run(_next_text, values)) is not None:
            yield text
    finally:
        slot.run_later(_close, values)


def _next_text(values: Iterator[Any]) -> str | None:
    value = next(values, _END)
    return None if value is _END else encode(value)


def _close(values: Iterator[Any]) -> None:
    close = getattr(values, "close", None)
    if close is None:
        return
    try:
        close()
    except Exception:
        logger.exception("The generator of the predict function raised while it was closed.")
