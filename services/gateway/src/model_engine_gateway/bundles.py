"""What can be done with bundles."""

from collections.abc import Awaitable, Callable, Collection

from model_engine_contracts.api.bundles import (
    CloneModelBundleV1Request,
    CreateModelBundleV1Request,
    CreateModelBundleV2Request,
    ModelBundleFlavor,
    ModelBundleOrderBy,
)
from model_engine_contracts.events import BundleCreated
from model_engine_contracts.ids import new_id
from model_engine_gateway.clock import now
from model_engine_gateway.domain.bundles import (
    BundleDocument,
    UploadedArtifact,
    brings_image,
    cloned_bundle,
    flavor_of_v1,
    new_v1_bundle,
    new_v2_bundle,
    uploaded_artifact_id,
)
from model_engine_gateway.errors import ApiError
from model_engine_gateway.events import history_event
from model_engine_gateway.principals import Principal
from model_engine_gateway.repositories.bundles import BundleRepository

FindArtifact = Callable[[str], Awaitable[UploadedArtifact | None]]


class Bundles:
    """Creates and reads bundles for their owners."""

    def __init__(self, bundles: BundleRepository, find_artifact: FindArtifact) -> None:
        self._bundles = bundles
        self._find_artifact = find_artifact

    async def create_v1(self, caller: Principal, request: CreateModelBundleV1Request) -> str:
        """The id of a new bundle.

        Raises Invalid, ApiError 404 for an artifact that is not the caller's, and 403 for an image of its own that the
        caller may not bring.
        """
        flavor = flavor_of_v1(request)
        _check_privilege(caller, flavor)
        artifact = await self._artifact(caller, flavor)
        bundle = new_v1_bundle(
            request,
            flavor,
            artifact,
            bundle_id=new_id("bun"),
            owner=caller.owner,
            created_by=caller.user,
            now=now(),
        )
        return await self._insert(bundle)

    async def create_v2(self, caller: Principal, request: CreateModelBundleV2Request) -> str:
        """The same in the newer form."""
        _check_privilege(caller, request.flavor)
        artifact = await self._artifact(caller, request.flavor)
        bundle = new_v2_bundle(
            request, artifact, bundle_id=new_id("bun"), owner=caller.owner, created_by=caller.user, now=now()
        )
        return await self._insert(bundle)

    async def clone(self, caller: Principal, request: CloneModelBundleV1Request) -> str:
        """The id of a copy of one of the caller's bundles. Raises ApiError 404, and 403 as for a new one."""
        original = await self.get(caller, request.original_model_bundle_id)
        _check_privilege(caller, original.read_flavor())
        return await self._insert(
            cloned_bundle(original, request.new_app_config, bundle_id=new_id("bun"), created_by=caller.user, now=now())
        )

    async def list(self, caller: Principal, name: str | None, order: ModelBundleOrderBy | None) -> list[BundleDocument]:
        """The caller's bundles."""
        return await self._bundles.list(caller.owner, name, order)

    async def latest(self, caller: Principal, name: str) -> BundleDocument:
        """The newest bundle of that name. Raises ApiError 404."""
        return _found(await self._bundles.latest(caller.owner, name), name)

    async def get(self, caller: Principal, bundle_id: str) -> BundleDocument:
        """One bundle. Raises ApiError 404."""
        return _found(await self._bundles.find(caller.owner, bundle_id), bundle_id)

    async def schema_locations(self, caller: Principal, bundle_ids: Collection[str]) -> dict[str, str]:
        """Where the caller's bundles say that schemas of their requests and answers lie, by the bundle's id."""
        return await self._bundles.schema_locations(caller.owner, bundle_ids)

    async def _insert(self, bundle: BundleDocument) -> str:
        created = BundleCreated(
            bundle_id=bundle.id, name=bundle.name, flavor=bundle.flavor, created_by=bundle.created_by
        )
        await self._bundles.insert(bundle, history_event(created, bundle.owner))
        return bundle.id

    async def _artifact(self, caller: Principal, flavor: ModelBundleFlavor) -> UploadedArtifact | None:
        artifact_id = uploaded_artifact_id(flavor)
        if artifact_id is None:
            return None
        artifact = await self._find_artifact(artifact_id)
        if artifact is None or artifact.owner != caller.owner:
            raise ApiError(
                404,
                f"The specified artifact artifact://{artifact_id} could not be found. "
                "Upload the file with POST /v1/artifacts and use the location of its answer.",
                "artifact_not_found",
            )
        return artifact


def _check_privilege(caller: Principal, flavor: ModelBundleFlavor) -> None:
    if brings_image(flavor) and not caller.privileged:
        text = "User is not authorized to create model bundle with the specified settings."
        raise ApiError(403, text, "not_privileged")


def _found(bundle: BundleDocument | None, key: str) -> BundleDocument:
    if bundle is None:
        raise ApiError(404, f"Model Bundle {key}  was not found.", "bundle_not_found")
    return bundle
