"""Types that several resources share: quantities, GPU types, callback authentication."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, HttpUrl, TypeAdapter, WithJsonSchema

_HTTP_URL: TypeAdapter[HttpUrl] = TypeAdapter(HttpUrl)


def _http_url(value: str) -> str:
    _HTTP_URL.validate_python(value)
    return value


HttpUrlText = Annotated[
    str,
    AfterValidator(_http_url),
    WithJsonSchema({"type": "string", "format": "uri", "minLength": 1, "maxLength": 2083}),
]
"""An absolute http or https URL, kept letter for letter as the caller sent it."""

Quantity = str | int | float
"""Cores or millicores; bytes with or without a suffix (k M G T P E Ki Mi Gi Ti Pi Ei); kept as the caller sent it."""

JsonObject = dict[str, Any]


class GpuType(StrEnum):
    """GPU types that an endpoint may ask for."""

    NVIDIA_TESLA_T4 = "nvidia-tesla-t4"
    NVIDIA_AMPERE_A10 = "nvidia-ampere-a10"
    NVIDIA_AMPERE_A100 = "nvidia-ampere-a100"
    NVIDIA_AMPERE_A100E = "nvidia-ampere-a100e"
    NVIDIA_HOPPER_H100 = "nvidia-hopper-h100"
    NVIDIA_HOPPER_H100_1G_20GB = "nvidia-hopper-h100-1g20gb"
    NVIDIA_HOPPER_H100_3G_40GB = "nvidia-hopper-h100-3g40gb"


class CallbackBasicAuth(BaseModel):
    """A user name and password for callbacks."""

    kind: Literal["basic"]
    username: str
    password: str


class CallbackmTLSAuth(BaseModel):
    """A client certificate and its key (PEM) for callbacks."""

    kind: Literal["mtls"]
    cert: str
    key: str


CallbackAuth = Annotated[CallbackBasicAuth | CallbackmTLSAuth, Field(discriminator="kind")]


class ErrorDetail(BaseModel):
    """The body of every handled error. `code` is stable; `detail` is text, or an object of a model server."""

    detail: Any
    code: str
