"""How errors of control routes are answered."""

import json
import logging
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from pymongo.errors import ConnectionFailure
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from model_engine_gateway.audit import REQUEST_ID
from model_engine_gateway.domain.invalid import Invalid
from model_engine_gateway.errors import ApiError, internal_error_body

log = logging.getLogger(__name__)

CLIENT_GONE = 499
"""Nobody reads this answer; the number is for the metrics."""


def add_error_handlers(app: FastAPI) -> None:
    """Let the app answer every error in the API's form."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(Invalid, _invalid)
    app.add_exception_handler(RequestValidationError, _unprocessable)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ConnectionFailure, _database_down)
    app.add_exception_handler(ClientDisconnect, _client_gone)
    app.add_exception_handler(Exception, _internal_error)


def _respond(error: ApiError) -> Response:
    return Response(error.body(), error.status, error.headers, "application/json")


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _respond(error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, Invalid)
    return _respond(ApiError(400, error.text, error.code))


async def _unprocessable(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [{name: _shown(value) for name, value in problem.items()} for problem in error.errors()]
    return _respond(ApiError(422, problems, "invalid_request"))


async def _http_error(request: Request, error: Exception) -> Response:
    """404 and 405 of the router."""
    assert isinstance(error, HTTPException)
    code = str(error.detail).lower().replace(" ", "_")
    return _respond(ApiError(error.status_code, error.detail, code, dict(error.headers or {})))


async def _database_down(request: Request, error: Exception) -> Response:
    log.warning("the database did not answer: %r", error)
    text = "The database does not answer at the moment. Please retry."
    return _respond(ApiError(503, text, "database_unavailable", {"retry-after": "1"}))


async def _client_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


async def _internal_error(request: Request, error: Exception) -> Response:
    """The framework raises the error again after this answer; it is logged there."""
    return Response(internal_error_body(request.scope.get(REQUEST_ID)), 500, media_type="application/json")


def _shown(value: Any) -> Any:
    """A part of a problem as JSON: an exception by its text, what JSON cannot say by its representation."""
    if isinstance(value, dict):
        value = {name: str(part) if isinstance(part, Exception) else part for name, part in value.items()}
    try:
        value = jsonable_encoder(value)
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return repr(value)
    return value
