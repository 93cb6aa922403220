"""The FastAPI application of the control routes, and with it the OpenAPI document of the whole gateway."""

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi

from model_engine_chassis.history import History
from model_engine_gateway.access import Admission
from model_engine_gateway.api_keys import ApiKeys
from model_engine_gateway.bundles import Bundles
from model_engine_gateway.control.api_key_routes import add_api_key_routes
from model_engine_gateway.control.artifact_file_routes import add_artifact_file_route
from model_engine_gateway.control.artifact_routes import add_download_route, add_upload_route
from model_engine_gateway.control.bundle_routes import add_bundle_v1_routes, add_bundle_v2_routes
from model_engine_gateway.control.callback_routes import add_callback_routes
from model_engine_gateway.control.documentation import add_documented_routes, secured
from model_engine_gateway.control.endpoint_routes import QueueDepths, add_endpoint_routes
from model_engine_gateway.control.endpoint_schema_routes import add_endpoint_schema_routes
from model_engine_gateway.control.event_routes import add_event_routes
from model_engine_gateway.control.failures import add_error_handlers
from model_engine_gateway.control.live_streams import LiveStreams
from model_engine_gateway.control.log_routes import add_log_routes
from model_engine_gateway.control.result_routes import add_result_routes
from model_engine_gateway.control.routing import Admit, control_route
from model_engine_gateway.control.subscription_routes import add_subscription_routes
from model_engine_gateway.control.task_routes import add_task_routes
from model_engine_gateway.endpoint_logs import EndpointLogs
from model_engine_gateway.endpoint_schemas import EndpointSchemas
from model_engine_gateway.endpoints import Endpoints
from model_engine_gateway.hooks.secrets import CallbackSecrets
from model_engine_gateway.repositories.artifacts import ArtifactRepository
from model_engine_gateway.repositories.results import ResultRepository
from model_engine_gateway.result_addresses import ResultAddresses
from model_engine_gateway.settings import GatewaySettings
from model_engine_gateway.tasks.manage import ManagedTasks
from model_engine_gateway.webhooks.subscriptions import Subscriptions


@dataclass(frozen=True, slots=True)
class Control:
    """What the control routes work with."""

    admission: Admission
    bundles: Bundles
    endpoints: Endpoints
    artifacts: ArtifactRepository
    results: ResultRepository
    result_addresses: ResultAddresses | None
    api_keys: ApiKeys
    history: History
    logs: EndpointLogs
    streams: LiveStreams
    subscriptions: Subscriptions
    queue_depths: QueueDepths
    tasks: ManagedTasks
    callback_secrets: CallbackSecrets


def build_control_app(settings: GatewaySettings, control: Control) -> FastAPI:
    """Assemble the routes: those for holders of keys, for the administrator, and for holders of a signed address."""

    async def by_nothing(scope: MutableMapping[str, Any]) -> None:
        return None

    def router(admit: Admit) -> APIRouter:
        return APIRouter(route_class=control_route(admit, settings.max_body_bytes), strict_content_type=False)

    admitted, opened = router(control.admission.admit), router(by_nothing)
    add_bundle_v1_routes(admitted, control.bundles)
    add_bundle_v2_routes(admitted, control.bundles)
    add_endpoint_routes(admitted, control.endpoints, control.queue_depths)
    add_endpoint_schema_routes(admitted, EndpointSchemas(control.endpoints, control.bundles, control.artifacts))
    add_event_routes(admitted, control.history, control.endpoints, control.streams)
    add_subscription_routes(admitted, control.subscriptions)
    add_task_routes(admitted, control.tasks)
    add_callback_routes(admitted, control.callback_secrets)
    add_log_routes(admitted, control.endpoints, control.logs, control.streams)
    add_upload_route(admitted, control.artifacts, settings.max_artifact_bytes)
    add_api_key_routes(admitted, control.api_keys)
    add_download_route(opened, control.artifacts, settings.artifact_url_secret)
    add_artifact_file_route(opened, settings.allowed_artifact_directories, settings.artifact_url_secret)
    add_result_routes(
        opened, control.results, control.result_addresses, settings.artifact_url_secret, settings.max_result_bytes
    )
    add_documented_routes(opened)

    app = _Application(title="launch", version="1.0.0", redoc_url="/api", strict_content_type=False)
    for part in (admitted, opened):
        app.include_router(part)
    add_error_handlers(app)
    return app


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if not self.openapi_schema:
            document = get_openapi(
                title=self.title, version=self.version, openapi_version=self.openapi_version, routes=self.routes
            )
            self.openapi_schema = secured(document)
        return self.openapi_schema
