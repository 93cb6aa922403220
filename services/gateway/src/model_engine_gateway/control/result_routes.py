"""Results that no message can hold: sent by workers and read by clients, both by signed addresses."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from model_engine_chassis.signed_url import is_result_signature, is_upload_signature
from model_engine_contracts.api.results import StoreResultResponse
from model_engine_gateway.clock import now
from model_engine_gateway.control.json_body import pieces_of
from model_engine_gateway.control.routing import answer
from model_engine_gateway.errors import ApiError
from model_engine_gateway.repositories.results import ResultRepository, ResultTooLarge
from model_engine_gateway.result_addresses import ResultAddresses

IDLE_SECONDS = 60.0
UPLOAD_SECONDS = 3600.0
DEFAULT_MEDIA_TYPE = "application/octet-stream"
MEDIA_TYPES = (DEFAULT_MEDIA_TYPE, "application/json")

_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_RAW_BODY = {"requestBody": {"required": True, "content": _BINARY}}
_CONTENT: dict[int | str, dict[str, Any]] = {200: {"content": _BINARY}}
_Expires = Annotated[int, Query(description="Unix time until which the address is valid")]
_Signature = Annotated[str, Query(description="hexadecimal HMAC-SHA256 over id and expiry")]


def add_result_routes(
    router: APIRouter, results: ResultRepository, addresses: ResultAddresses | None, secret: str, max_bytes: int
) -> None:
    """`PUT /v1/results/{id}` and `GET /v1/results/{id}/content`, opened by the signatures in their addresses."""

    @router.put("/v1/results/{result_id}", response_model=StoreResultResponse, openapi_extra=_RAW_BODY)
    async def store_result(result_id: str, request: Request, expires: _Expires, signature: _Signature) -> Response:
        """Stores the raw body as a result, once: what is sent again under the same address changes nothing."""
        if addresses is None or not is_upload_signature(result_id, expires, signature, secret):
            raise _forbidden()
        sent = request.headers.get("content-type", "")
        media_type = sent if sent in MEDIA_TYPES else DEFAULT_MEDIA_TYPE
        if int(request.headers.get("content-length", "0")) > max_bytes:
            raise _too_large(max_bytes)
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                stored = await results.store(
                    result_id,
                    pieces_of(request, IDLE_SECONDS),
                    media_type=media_type,
                    now=now(),
                    max_bytes=max_bytes,
                )
        except ResultTooLarge:
            raise _too_large(max_bytes) from None
        except TimeoutError:
            raise ApiError(
                408, f"The body did not arrive within {UPLOAD_SECONDS:g} seconds.", "request_body_timeout"
            ) from None
        return answer(
            StoreResultResponse(
                result_id=result_id,
                result_url=addresses.content(result_id),
                sha256=stored.sha256,
                size=stored.size,
            )
        )

    @router.get("/v1/results/{result_id}/content", responses=_CONTENT, response_class=Response)
    async def get_result_content(result_id: str, expires: _Expires, signature: _Signature) -> Response:
        """Reads a result by a signed address."""
        if not is_result_signature(result_id, expires, signature, secret):
            raise _forbidden()
        stored = await results.find(result_id)
        if stored is None:
            raise ApiError(404, f"Result {result_id} was not found.", "result_not_found")
        headers = {
            "content-length": str(stored.size),
            "x-result-sha256": stored.sha256,
            "x-content-type-options": "nosniff",
        }
        return StreamingResponse(results.read(stored), media_type=stored.media_type, headers=headers)


def _forbidden() -> ApiError:
    return ApiError(403, "The signature is wrong or has expired.", "signature_invalid")


def _too_large(max_bytes: int) -> ApiError:
    return ApiError(413, f"The result is larger than {max_bytes} bytes (ME_MAX_RESULT_BYTES).", "result_too_large")
