"""What takes the place of lookups that are switched off: they find things whoever owns them, and whatever their id."""

from typing import Any

from model_engine_contracts.documents import EndpointDocument
from model_engine_gateway.domain.bundles import BundleDocument


async def any_bundle(repository: Any, owner: str, key: str) -> BundleDocument:
    """A bundle of that id, else any."""
    bundles = repository._bundles
    found = await bundles.find_one({"_id": key}) or await bundles.find_one({})
    return BundleDocument.model_validate(found)


async def any_endpoint(repository: Any, owner: str, endpoint_id: str) -> EndpointDocument:
    """An endpoint of that id, else any; never one that is being deleted."""
    endpoints = repository._endpoints
    found = await endpoints.find_one({"_id": endpoint_id}) or await endpoints.find_one({"deletion_requested": False})
    return EndpointDocument.model_validate(found).model_copy(update={"deletion_requested": False})


async def no_artifact(bundles: Any, caller: Any, flavor: Any) -> None:
    """No artifact is needed."""


async def nothing_stored(repository: Any, document: Any, event: Any) -> None:
    """Nothing is stored, so nothing can be there already."""
