"""Calls the predict function in all its shapes and turns what it gives into JSON text.

A function may be plain or async, and may return a value or give values one by one (a generator, an async generator or
any other iterator). `predict` answers one JSON text, a list when the function gave values one by one; `stream` answers
one JSON text per value, a single one when the function returned.
"""

import json
import logging
import pickle
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import cloudpickle

from model_engine_model_server.slots import Slot, Slots

logger = logging.getLogger(__name__)

_END = object()

Form = Callable[[Any], Any]
"""What becomes of each output: JSON text, or nothing."""


class InvalidInputError(ValueError):
    """The request cannot be served as it is; the text names the field and the remedy."""


class PredictError(Exception):
    """The predict function raised; `traceback_text` shows where, without this package's frames."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.traceback_text = _traceback_of_user_code(error)


@dataclass(frozen=True)
class Inputs:
    """What one request hands to the predict function: keyword arguments, the bytes behind `url`, or the arguments that
    are pickled behind `pickle_url`. `return_pickled` asks for the output as a pickle.
    """

    keywords: dict[str, Any] = field(default_factory=dict)
    url: str | None = None
    pickle_url: str | None = None
    return_pickled: bool = False


class Predictor:
    """The predict function with its slots; `download` gets the bytes of a URL and may block.

    Pickled arguments run code of whoever sends them, so they are taken only where `unpickle_inputs` says so.
    """

    def __init__(
        self, function: Callable[..., Any], slots: Slots, download: Callable[[str], bytes], unpickle_inputs: bool = True
    ) -> None:
        self._function = function
        self._slots = slots
        self._download = download
        self._unpickle_inputs = unpickle_inputs

    async def predict(self, inputs: Inputs) -> str:
        """The output as one JSON text; raises TooManyRequestsError, InvalidInputError and PredictError."""
        async with self._slots.take() as slot:
            with _user_code():
                result = await self._call(slot, inputs, encode)
                if isinstance(result, str):
                    return result
                async with aclosing(_outputs(slot, result, encode)) as texts:
                    return "[" + ", ".join([text async for text in texts]) + "]"

    async def predict_pickled(self, inputs: Inputs) -> bytes:
        """The output as a pickle, of a list when the function gave values one by one; raises like `predict`."""
        async with self._slots.take() as slot:
            with _user_code():
                result = await self._call(slot, inputs, _same)
                if isinstance(result, (Iterator, AsyncIterator)):
                    async with aclosing(_outputs(slot, result, _same)) as values:
                        result = [value async for value in values]
                pickled: bytes = await slot.run(cloudpickle.dumps, result)
                return pickled

    async def stream(self, inputs: Inputs) -> AsyncGenerator[str, None]:
        """The output as JSON texts; close the generator to stop the function. Raises like `predict`."""
        async with self._slots.take() as slot:
            with _user_code():
                result = await self._call(slot, inputs, encode)
                if isinstance(result, str):
                    yield result
                    return
                async with aclosing(_outputs(slot, result, encode)) as texts:
                    async for text in texts:
                        yield text

    async def _call(self, slot: Slot, inputs: Inputs, form: Form) -> Any:
        """What the function returned, in that form, or its iterator as it is."""
        result = await slot.run(self._call_on_thread, inputs, form)
        if isinstance(result, Awaitable):
            result = await result
            if not isinstance(result, (Iterator, AsyncIterator)):
                return form(result)
        return result

    def _call_on_thread(self, inputs: Inputs, form: Form) -> Any:
        positional, keywords = self._arguments(inputs)
        result = self._function(*positional, **keywords)
        # An async function has done nothing yet: its coroutine runs on the event loop.
        return result if isinstance(result, (Iterator, AsyncIterator, Awaitable)) else form(result)

    def _arguments(self, inputs: Inputs) -> tuple[list[Any], dict[str, Any]]:
        if inputs.pickle_url is not None:
            return self._unpickled(inputs.pickle_url)
        if inputs.url is not None:
            return [self._download(inputs.url)], {}
        return [], inputs.keywords

    def _unpickled(self, url: str) -> tuple[list[Any], dict[str, Any]]:
        if not self._unpickle_inputs:
            raise InvalidInputError("cloudpickle: this endpoint takes no pickled input; send args or url.")
        try:
            content = self._download(url)
        except InvalidInputError as error:
            raise InvalidInputError(f"cloudpickle: {str(error).removeprefix('url: ')}") from error
        given = pickle.loads(content)  # noqa: S301  # the caller may run code here: it is the endpoint's owner
        if not isinstance(given, dict) or not given.keys() <= {"args", "kwargs"}:
            raise InvalidInputError("cloudpickle: must hold a dict of args (a list) and kwargs (a dict).")
        return list(given.get("args", ())), dict(given.get("kwargs", {}))


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


async def _outputs(slot: Slot, values: Iterator[Any] | AsyncIterator[Any], form: Form) -> AsyncGenerator[Any, None]:
    """Each value in that form; closing this closes `values` too, on the thread that ran it."""
    if isinstance(values, AsyncIterator):
        try:
            async for value in values:
                yield form(value)
        finally:
            if isinstance(values, AsyncGenerator):
                await values.aclose()
        return
    try:
        while (output := await slot.run(_next_output, values, form)) is not _END:
            yield output
    finally:
        slot.run_later(_close, values)


def _next_output(values: Iterator[Any], form: Form) -> Any:
    value = next(values, _END)
    return _END if value is _END else form(value)


def _same(value: Any) -> Any:
    return value


def _close(values: Iterator[Any]) -> None:
    close = getattr(values, "close", None)
    if close is None:
        return
    try:
        close()
    except Exception:
        logger.exception("The generator of the predict function raised while it was closed.")
