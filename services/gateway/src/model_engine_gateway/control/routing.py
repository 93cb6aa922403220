"""What every control route shares: who calls is settled before anything is read, and answers are plain JSON."""

import json
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from model_engine_gateway.access import PRINCIPAL
from model_engine_gateway.control.json_body import JsonRequest
from model_engine_gateway.principals import Principal

Admit = Callable[[MutableMapping[str, Any]], Awaitable[object]]


def control_route(admit: Admit, max_body_bytes: int) -> type[APIRoute]:
    """The class of routes that call `admit` with the ASGI scope first, then read a bounded body if they have one."""

    class ControlRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            """Wrap FastAPI's handler, which would read and check the body first."""
            handle = super().get_route_handler()
            reads_body = self.body_field is not None

            async def admitted(request: Request) -> Response:
                await admit(request.scope)
                strict = JsonRequest(request.scope, request.receive)
                if reads_body:
                    await strict.read_body(max_body_bytes)
                return await handle(strict)

            return admitted

    return ControlRoute


def _caller(request: Request) -> Principal:
    principal: Principal = request.scope[PRINCIPAL]
    return principal


Caller = Annotated[Principal, Depends(_caller)]
"""The principal that the request was authenticated as."""


def answer(model: BaseModel) -> Response:
    """200 with the model as JSON. Halves of characters, which free JSON may hold, are escaped as they came."""
    return Response(json.dumps(model.model_dump(mode="json"), separators=(",", ":")), media_type="application/json")
