"""Where artifacts can be read: an address for whoever prepares the environment, good for a while and for one artifact.

Uploaded artifacts and files are read through signed addresses of the gateway, objects through signed addresses of their
store, everything else at its own address. Credentials of stores stay here; `obstore` takes them from the variables that
each cloud's own tools read.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from ipaddress import ip_network
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore.exceptions
from obstore.store import AzureStore, GCSStore, S3Store, from_url

from model_engine_builder.settings import BuilderSettings
from model_engine_chassis.outbound import OutboundClient, OutboundError
from model_engine_chassis.signed_url import sign_artifact_url, sign_file_url
from model_engine_contracts.artifact_location import FILE, OBJECT_STORES, scheme_of, split_location
from model_engine_contracts.documents import BundleSnapshot
from model_engine_runtime.artifact_version import version_of

LOOK_SECONDS = 1.0
"""A look must end well within a pass, which ends before the lease of the builder does."""

_CLIENT_OPTIONS = {"allow_http": True, "connect_timeout": "1s", "timeout": "1s"}
_RETRY_OPTIONS = {"max_retries": 1, "retry_timeout": timedelta(seconds=LOOK_SECONDS)}
_EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_SHOWN_CHARACTERS = 300

_Store = S3Store | GCSStore | AzureStore


class ArtifactMissing(Exception):
    """The artifact cannot be read; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Located:
    """Where an artifact can be read, and its version where no hash is known."""

    url: str
    version: str | None


class ArtifactSources:
    """Finds artifacts for owners, as the settings allow."""

    def __init__(self, settings: BuilderSettings) -> None:
        self._settings = settings
        # As long as a build may wait for its turn and take.
        self._valid_seconds = 2 * settings.build_deadline_seconds
        limits: dict[str, Any] = {"connect_seconds": LOOK_SECONDS, "total_seconds": LOOK_SECONDS}
        self._public = OutboundClient(settings.allowed_callback_networks, **limits)
        self._gateway = OutboundClient(_EVERYWHERE, **limits)

    async def locate(self, bundle: BundleSnapshot, owner: str, version: str | None) -> Located:
        """The address of the bundle's artifact.

        `version` is the one to be read, where that is decided already; else the present one is found out, unless the
        hash is known. Raises ArtifactMissing.
        """
        location, _ = split_location(bundle.location or "")
        known = version is not None or bundle.artifact_sha256 is not None
        if bundle.artifact_id is not None:
            settings = self._settings
            url = sign_artifact_url(
                settings.gateway_url,
                bundle.artifact_id,
                settings.artifact_url_secret,
                valid_seconds=self._valid_seconds,
            )
            return Located(url, None)
        scheme = scheme_of(location)
        if scheme in OBJECT_STORES:
            return await self._object(scheme, location, owner, version, known=known)
        if scheme == FILE:
            url = self._file_url(location)
            return Located(url, version if known else await self._look(self._gateway, url, location))
        try:
            await self._public.check(location)
        except OutboundError as error:
            raise ArtifactMissing(f"{location}: {error}") from error
        return Located(location, version if known else await self._look(self._public, location, location))

    def _file_url(self, location: str) -> str:
        parts = urlsplit(location)
        if parts.netloc not in ("", "localhost"):
            raise ArtifactMissing(f"{location} names another host; use file:///absolute/path")
        settings = self._settings
        return sign_file_url(
            settings.gateway_url,
            unquote(parts.path),
            settings.artifact_url_secret,
            valid_seconds=self._valid_seconds,
        )

    async def _object(self, scheme: str, location: str, owner: str, version: str | None, *, known: bool) -> Located:
        allowed = [prefix.replace("{owner}", owner) for prefix in self._settings.allowed_object_prefixes]
        if not any(location.startswith(prefix) for prefix in allowed):
            raise ArtifactMissing(
                f"{location} is not under a prefix that the operator allows (ME_ALLOWED_OBJECT_PREFIXES); "
                "upload the artifact with POST /v1/artifacts, or ask the operator to allow its prefix"
            )
        bucket, _, key = location.partition("://")[2].partition("/")
        try:
            store = await asyncio.to_thread(_store, scheme, bucket)
            if not known:
                version = (await obstore.head_async(store, key))["e_tag"]
            url = await obstore.sign_async(store, "GET", key, timedelta(seconds=self._valid_seconds))
        except FileNotFoundError as error:
            raise ArtifactMissing(f"there is no object {location}") from error
        except (obstore.exceptions.BaseError, OSError, ValueError) as error:
            raise ArtifactMissing(f"{location} cannot be read: {_first_line(error)}") from error
        if not known and version is None:
            raise ArtifactMissing(_unversioned(location))
        return Located(url, version)

    async def _look(self, client: OutboundClient, url: str, location: str) -> str:
        try:
            answer = await client.get(url)
        except OutboundError as error:
            raise ArtifactMissing(f"{location}: {error}") from error
        if not answer.is_success:
            shown = answer.body.decode("utf-8", "replace")[:_SHOWN_CHARACTERS] if client is self._gateway else ""
            hint = "; redirects are not followed" if 300 <= answer.status < 400 else ""
            raise ArtifactMissing(f"the source of {location} answers {answer.status}{hint} {shown}".rstrip())
        version = version_of(answer.headers)
        if version is None:
            raise ArtifactMissing(_unversioned(location))
        return version


@lru_cache(maxsize=64)
def _store(scheme: str, bucket: str) -> _Store:
    """The store of a bucket; making one reads credentials and may take a moment."""
    options: Any = {"client_options": _CLIENT_OPTIONS, "retry_config": _RETRY_OPTIONS}
    store = from_url(f"{scheme}://{bucket}", **options)
    assert isinstance(store, _Store)
    return store


def _unversioned(location: str) -> str:
    return f"the source of {location} names no version of it; add #sha256=<hash of the file> to the location"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:_SHOWN_CHARACTERS]
