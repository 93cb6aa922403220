"""The body of a control request: bounded in size, time and depth, and strict JSON."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from model_engine_gateway.errors import ApiError

BODY_SECONDS = 30.0
MAX_DEPTH = 100


class JsonRequest(Request):
    """A request whose body was read by `read_body`, and whose JSON is what RFC 8259 calls so."""

    async def read_body(self, max_bytes: int) -> None:
        """Read the body. Raises ApiError 413 beyond `max_bytes`, 408 where it does not arrive in time."""
        pieces = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for piece in self.stream():
                    pieces += piece
                    if len(pieces) > max_bytes:
                        raise ApiError(413, f"The request body is larger than {max_bytes} bytes.", "request_too_large")
        except TimeoutError:
            raise ApiError(
                408, f"The body did not arrive within {BODY_SECONDS:g} seconds.", "request_body_timeout"
            ) from None
        body = bytes(pieces)
        # The framework takes null for a value of the wrong type; a missing body is what it is.
        self._body = b"" if body.strip() in (b"", b"null") else body

    async def json(self) -> Any:
        """The parsed body. Raises json.JSONDecodeError for everything that is not JSON of reasonable depth."""
        return parse_json(await self.body())


def parse_json(body: bytes) -> Any:
    """Read strict JSON: no NaN, no numbers beyond a double, no depth beyond MAX_DEPTH. Raises json.JSONDecodeError."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError("not UTF-8", "", error.start) from error
    try:
        value = json.loads(text, parse_float=_finite, parse_constant=_refuse)
    except RecursionError as error:
        raise json.JSONDecodeError("nested too deeply", text, 0) from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        raise json.JSONDecodeError(str(error), text, 0) from error
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise json.JSONDecodeError("nested too deeply", text, 0)
    return value


async def pieces_of(request: Request, idle_seconds: float) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises ApiError 408 where nothing arrives for so long, and ClientDisconnect."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(idle_seconds):
                piece = await anext(stream, None)
        except TimeoutError:
            raise ApiError(
                408, f"Nothing of the body arrived for {idle_seconds:g} seconds.", "request_body_timeout"
            ) from None
        if piece is None:
            return
        if piece:
            yield piece


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:32]} is out of range")
    return number


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _depth(value: Any) -> int:
    """Levels of nesting, counted level by level."""
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        depth += 1
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return depth


__all__ = ["ClientDisconnect", "JsonRequest", "parse_json", "pieces_of"]
