"""What the API shows of an endpoint."""

from collections.abc import Callable

from model_engine_contracts.api.endpoints import CreateModelEndpointV1Request
from model_engine_contracts.documents import BundleSnapshot, EndpointDocument
from model_engine_contracts.endpoint_states import WIRE_STATUS, EndpointType, Phase, WireStatus
from model_engine_contracts.failures import Reason, failure_info
from model_engine_gateway.domain.endpoint_changes import new_spec
from model_engine_gateway.domain.endpoint_view import endpoint_view, status_reason


def _with_phase(document: EndpointDocument, phase: Phase) -> EndpointDocument:
    return document.model_copy(update={"status": document.status.model_copy(update={"phase": phase})})


def test_every_phase_has_one_of_the_five_statuses() -> None:
    assert set(WIRE_STATUS) == set(Phase)
    assert set(WIRE_STATUS.values()) == set(WireStatus)


def test_what_speaks_of_workers_is_null_until_some_were_asked_for(document: EndpointDocument) -> None:
    view = endpoint_view(document, 0)
    hidden = {"deployment_name", "labels", "deployment_state", "resource_state", "num_queued_items", "aws_role"}

    assert {name for name, value in view.model_dump().items() if value is None} >= hidden
    assert (view.destination, view.status, view.post_inference_hooks) == ("UNKNOWN", "UPDATE_PENDING", [])

    built = endpoint_view(_with_phase(document, Phase.ROLLING_OUT), 0)
    assert (built.destination, built.deployment_name) == ("launch-endpoint-id-end-1", "launch-endpoint-id-end-1")
    assert built.resource_state is not None
    assert (built.resource_state.cpus, built.resource_state.memory) == ("1", "1Gi")
    assert built.labels == {"team": "t", "product": "p"}


def test_only_async_endpoints_have_a_queue(document: EndpointDocument) -> None:
    ready = _with_phase(document, Phase.READY)
    queued = ready.model_copy(update={"spec": ready.spec.model_copy(update={"endpoint_type": EndpointType.ASYNC})})

    assert endpoint_view(ready, 7).num_queued_items is None
    view = endpoint_view(queued, 7)
    assert (view.num_queued_items, view.destination) == (7, "launch-endpoint-id-end_1")


def test_secrets_of_callbacks_are_never_shown(
    document: EndpointDocument,
    make_request: Callable[..., CreateModelEndpointV1Request],
    make_bundle: Callable[..., BundleSnapshot],
) -> None:
    auth = {"kind": "basic", "username": "u", "password": "secret"}
    spec = new_spec(make_request(default_callback_auth=auth), make_bundle())
    view = endpoint_view(_with_phase(document.model_copy(update={"spec": spec}), Phase.READY), None)

    assert view.default_callback_auth is not None
    assert view.default_callback_auth.model_dump() == {**auth, "password": "********"}


def test_a_reason_is_one_bounded_line_that_keeps_its_remedy() -> None:
    short = failure_info(Reason.EXITED, "exit\n  code 3")
    long = failure_info(Reason.EXITED, "x" * 2000)

    assert status_reason(short) == f"EXITED: exit code 3 ({short.remedy})"
    assert len(status_reason(long)) == 500
    assert status_reason(long).endswith(f"…  ({long.remedy})".replace("  ", " "))
