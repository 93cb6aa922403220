"""Files of the operator as artifacts: read by whoever holds a signed address, from directories that the settings allow.

The address is signed by the builder; what it may lead to is decided here, where the file is.
"""

import asyncio
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from starlette.responses import FileResponse

from model_engine_chassis.signed_url import is_file_signature
from model_engine_gateway.errors import ApiError

_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}


def add_artifact_file_route(router: APIRouter, directories: Sequence[Path], secret: str) -> None:
    """`GET /v1/artifact-files`, opened by the signature in its address and by nothing else."""

    @router.get("/v1/artifact-files", responses=_CONTENT, response_class=Response)
    async def get_artifact_file(
        path: Annotated[str, Query(description="absolute path of the file")],
        expires: Annotated[int, Query(description="Unix time until which the address is valid")],
        signature: Annotated[str, Query(description="hexadecimal HMAC-SHA256 over path and expiry")],
    ) -> Response:
        """Reads a file that a bundle names with file://, by a signed address."""
        if not is_file_signature(path, expires, signature, secret):
            raise ApiError(403, "The signature is wrong or has expired.", "signature_invalid")
        file, status = await asyncio.to_thread(_allowed_file, path, directories)
        etag = f'"{status.st_size:x}-{status.st_mtime_ns:x}-{status.st_ino:x}"'
        return FileResponse(file, stat_result=status, media_type="application/octet-stream", headers={"etag": etag})


def _allowed_file(path: str, directories: Sequence[Path]) -> tuple[Path, os.stat_result]:
    """The file itself, links followed. Raises ApiError."""
    file = Path(os.path.realpath(path)) if "\0" not in path else Path()
    if not any(file.is_relative_to(os.path.realpath(directory)) for directory in directories):
        raise ApiError(
            403,
            f"The file {path} is not in a directory that the operator allows (ME_ALLOWED_ARTIFACT_DIRECTORIES). "
            "Upload it with POST /v1/artifacts instead, or ask the operator.",
            "artifact_directory_not_allowed",
        )
    try:
        status = file.stat()
    except OSError as error:
        raise ApiError(404, f"The file {path} cannot be read: {error.strerror}.", "artifact_not_found") from error
    if not stat.S_ISREG(status.st_mode) or not os.access(file, os.R_OK):
        raise ApiError(404, f"{path} is not a file that the gateway can read.", "artifact_not_found")
    return file, status
