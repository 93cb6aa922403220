"""Artifacts: uploaded by their owner as a raw body, read by whoever holds a signed address."""

import asyncio
import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import StreamingResponse

from model_engine_chassis.signed_url import is_artifact_signature
from model_engine_contracts.api.artifacts import CreateArtifactResponse
from model_engine_contracts.ids import new_id
from model_engine_gateway.clock import now
from model_engine_gateway.control.json_body import pieces_of
from model_engine_gateway.control.routing import Caller, answer
from model_engine_gateway.domain.bundles import ARTIFACT_SCHEME
from model_engine_gateway.errors import ApiError
from model_engine_gateway.repositories.artifacts import ArtifactRepository, TooLarge

IDLE_SECONDS = 60.0
UPLOAD_SECONDS = 3600.0
_PYTHON = re.compile(r"(3\.[0-9]{1,2})(\.[0-9]{1,3})?")
_RAW_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}


def add_upload_route(router: APIRouter, artifacts: ArtifactRepository, max_bytes: int) -> None:
    """`POST /v1/artifacts`."""

    @router.post("/v1/artifacts", response_model=CreateArtifactResponse, openapi_extra=_RAW_BODY)
    async def create_artifact(
        request: Request,
        caller: Caller,
        x_python_version: Annotated[
            str | None, Header(description="Python that made the artifact, such as 3.11; its workers run the same")
        ] = None,
    ) -> Response:
        """Stores the raw body as an artifact; put the answered location into a bundle."""
        python = _minor_version(x_python_version)
        if int(request.headers.get("content-length", "0")) > max_bytes:
            raise _too_large(max_bytes)
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                artifact = await artifacts.store(
                    new_id("art"),
                    pieces_of(request, IDLE_SECONDS),
                    owner=caller.owner,
                    user=caller.user,
                    python=python,
                    now=now(),
                    max_bytes=max_bytes,
                )
        except TooLarge:
            raise _too_large(max_bytes) from None
        except TimeoutError:
            raise ApiError(
                408, f"The body did not arrive within {UPLOAD_SECONDS:g} seconds.", "request_body_timeout"
            ) from None
        location = f"{ARTIFACT_SCHEME}{artifact.id}"
        return answer(CreateArtifactResponse(location=location, sha256=artifact.sha256, size=artifact.size))


def add_download_route(router: APIRouter, artifacts: ArtifactRepository, secret: str) -> None:
    """`GET /v1/artifacts/{id}/content`, opened by the signature in its address and by nothing else."""

    @router.get("/v1/artifacts/{artifact_id}/content", responses=_CONTENT, response_class=Response)
    async def get_artifact_content(
        artifact_id: str,
        expires: Annotated[int, Query(description="Unix time until which the address is valid")],
        signature: Annotated[str, Query(description="hexadecimal HMAC-SHA256 over id and expiry")],
    ) -> Response:
        """Reads an artifact by a signed address."""
        if not is_artifact_signature(artifact_id, expires, signature, secret):
            raise ApiError(403, "The signature is wrong or has expired.", "signature_invalid")
        artifact = await artifacts.find(artifact_id)
        if artifact is None:
            raise ApiError(404, f"Artifact {artifact_id} was not found.", "artifact_not_found")
        headers = {"content-length": str(artifact.size), "x-artifact-sha256": artifact.sha256}
        return StreamingResponse(artifacts.read(artifact_id), media_type="application/octet-stream", headers=headers)


def _minor_version(version: str | None) -> str | None:
    if version is None:
        return None
    match = _PYTHON.fullmatch(version)
    if match is None:
        raise ApiError(
            400, f"The header x-python-version must be a version such as 3.11, not {version!r}.", "invalid_header"
        )
    return match[1]


def _too_large(max_bytes: int) -> ApiError:
    return ApiError(413, f"The artifact is larger than {max_bytes} bytes.", "artifact_too_large")
