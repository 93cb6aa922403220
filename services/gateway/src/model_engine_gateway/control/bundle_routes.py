"""The routes of bundles, in both versions."""

from fastapi import APIRouter, Response

from model_engine_contracts.api.bundles import (
    CloneModelBundleV1Request,
    CloneModelBundleV2Request,
    CreateModelBundleV1Request,
    CreateModelBundleV1Response,
    CreateModelBundleV2Request,
    CreateModelBundleV2Response,
    ListModelBundlesV1Response,
    ListModelBundlesV2Response,
    ModelBundleOrderBy,
    ModelBundleV1Response,
    ModelBundleV2Response,
)
from model_engine_gateway.bundles import Bundles
from model_engine_gateway.control.routing import Caller, answer
from model_engine_gateway.domain.bundles import v1_view, v2_view


def add_bundle_v1_routes(router: APIRouter, bundles: Bundles) -> None:
    """Literal paths come before the one with a parameter."""

    @router.post("/v1/model-bundles", response_model=CreateModelBundleV1Response)
    async def create_model_bundle(request: CreateModelBundleV1Request, caller: Caller) -> Response:
        """Creates a model bundle; the same name makes a new version of it."""
        return answer(CreateModelBundleV1Response(model_bundle_id=await bundles.create_v1(caller, request)))

    @router.post("/v1/model-bundles/clone-with-changes", response_model=CreateModelBundleV1Response)
    async def clone_model_bundle_with_changes(request: CloneModelBundleV1Request, caller: Caller) -> Response:
        """Copies a model bundle, with another app_config if one is given."""
        return answer(CreateModelBundleV1Response(model_bundle_id=await bundles.clone(caller, request)))

    @router.get("/v1/model-bundles", response_model=ListModelBundlesV1Response)
    async def list_model_bundles(
        caller: Caller, model_name: str | None = None, order_by: ModelBundleOrderBy | None = None
    ) -> Response:
        """Lists the caller's model bundles."""
        found = await bundles.list(caller, model_name, order_by)
        return answer(ListModelBundlesV1Response(model_bundles=[v1_view(bundle) for bundle in found]))

    @router.get("/v1/model-bundles/latest", response_model=ModelBundleV1Response)
    async def get_latest_model_bundle(model_name: str, caller: Caller) -> Response:
        """Gets the newest model bundle of a name."""
        return answer(v1_view(await bundles.latest(caller, model_name)))

    @router.get("/v1/model-bundles/{model_bundle_id}", response_model=ModelBundleV1Response)
    async def get_model_bundle(model_bundle_id: str, caller: Caller) -> Response:
        """Gets one model bundle."""
        return answer(v1_view(await bundles.get(caller, model_bundle_id)))


def add_bundle_v2_routes(router: APIRouter, bundles: Bundles) -> None:
    """Literal paths come before the one with a parameter."""

    @router.post("/v2/model-bundles", response_model=CreateModelBundleV2Response)
    async def create_model_bundle(request: CreateModelBundleV2Request, caller: Caller) -> Response:
        """Creates a model bundle; the same name makes a new version of it."""
        return answer(CreateModelBundleV2Response(model_bundle_id=await bundles.create_v2(caller, request)))

    @router.post("/v2/model-bundles/clone-with-changes", response_model=CreateModelBundleV2Response)
    async def clone_model_bundle_with_changes(request: CloneModelBundleV2Request, caller: Caller) -> Response:
        """Copies a model bundle, with another app_config if one is given."""
        return answer(CreateModelBundleV2Response(model_bundle_id=await bundles.clone(caller, request)))

    @router.get("/v2/model-bundles", response_model=ListModelBundlesV2Response)
    async def list_model_bundles(
        caller: Caller, model_name: str | None = None, order_by: ModelBundleOrderBy | None = None
    ) -> Response:
        """Lists the caller's model bundles."""
        found = await bundles.list(caller, model_name, order_by)
        return answer(ListModelBundlesV2Response(model_bundles=[v2_view(bundle) for bundle in found]))

    @router.get("/v2/model-bundles/latest", response_model=ModelBundleV2Response)
    async def get_latest_model_bundle(model_name: str, caller: Caller) -> Response:
        """Gets the newest model bundle of a name."""
        return answer(v2_view(await bundles.latest(caller, model_name)))

    @router.get("/v2/model-bundles/{model_bundle_id}", response_model=ModelBundleV2Response)
    async def get_model_bundle(model_bundle_id: str, caller: Caller) -> Response:
        """Gets one model bundle."""
        return answer(v2_view(await bundles.get(caller, model_bundle_id)))
