"""Deploying: what is sent for a new and for an existing endpoint, and how waiting ends."""

from typing import Any

import pytest

from model_engine import Bundle, EndpointSettings, errors

BUNDLE = Bundle(load_predict_fn=lambda model: lambda x: x + model, model=1, requirements=("numpy==2.4.6",))
LIST = ("GET", "/v1/model-endpoints")
ONE = "/v1/model-endpoints/end_1"


def endpoint(status: str = "READY", reason: str | None = None, endpoint_type: str = "sync") -> dict[str, Any]:
    return {
        "id": "end_1",
        "name": "adder",
        "endpoint_type": endpoint_type,
        "destination": "end_1",
        "bundle_name": "adder",
        "status": status,
        "status_reason": reason,
        "created_by": "me",
        "created_at": "2026-01-02T03:04:05Z",
        "last_updated_at": "2026-01-02T03:04:05Z",
    }


def found(*endpoints: Any) -> dict[str, Any]:
    return {"model_endpoints": list(endpoints)}


@pytest.fixture(autouse=True)
def _accept_bundles(gateway: Any, cut: Any) -> None:
    artifact = {"location": "artifact://art_1", "sha256": "0" * 64, "size": 1}
    # The first upload's answer is lost: it is sent again as a whole.
    gateway.script("POST", "/v1/artifacts", cut, artifact)
    gateway.script("POST", "/v2/model-bundles", {"model_bundle_id": "bun_1"})
    gateway.script("PUT", ONE, {"endpoint_creation_task_id": "task"})


def test_a_new_endpoint(gateway: Any, client: Any) -> None:
    gateway.script(*LIST, found(), found(endpoint("UPDATE_PENDING")))
    gateway.script("POST", "/v1/model-endpoints", {"endpoint_creation_task_id": "task"})
    deployed = client.call("deploy", "adder", BUNDLE, EndpointSettings(endpoint_type="async", min_workers=0))
    assert deployed.id == "end_1"
    first, second = gateway.requests("POST", "/v1/artifacts")
    assert first.body == second.body != b""
    assert first.headers["content-length"] == str(len(first.body))
    assert first.headers["x-python-version"].startswith("3.")
    bundle = gateway.requests("POST", "/v2/model-bundles")[0].json
    assert bundle["flavor"]["location"] == "artifact://art_1"
    assert bundle["flavor"]["requirements"] == ["numpy==2.4.6"]
    assert "lambda model" in bundle["flavor"]["load_predict_fn"]
    created = gateway.requests("POST", "/v1/model-endpoints")[0].json
    expected = {"name": "adder", "model_bundle_id": "bun_1", "endpoint_type": "async", "min_workers": 0, "cpus": 1}
    assert created | expected == created
    assert set(created["labels"]) == {"team", "product"}


def test_an_endpoint_that_exists_is_changed_where_settings_are_given(gateway: Any, client: Any) -> None:
    gateway.script(*LIST, found(endpoint()))
    client.call("deploy", "adder", BUNDLE, EndpointSettings(max_workers=3))
    assert gateway.requests("PUT", ONE)[0].json == {"model_bundle_id": "bun_1", "max_workers": 3}
    assert gateway.requests("POST", "/v1/model-endpoints") == []


def test_an_endpoint_that_was_made_by_a_lost_attempt_is_changed(gateway: Any, client: Any, answer: Any) -> None:
    gateway.script(*LIST, found(), found(endpoint()))
    exists = answer(400, {"detail": "The specified model endpoint already exists."})
    gateway.script("POST", "/v1/model-endpoints", exists)
    assert client.call("deploy", "adder", BUNDLE).id == "end_1"
    assert len(gateway.requests("PUT", ONE)) == 1


def test_a_refused_endpoint_is_an_error(gateway: Any, client: Any, answer: Any) -> None:
    gateway.script(*LIST, found())
    gateway.script("POST", "/v1/model-endpoints", answer(400, {"detail": "Requested cpus must be positive"}))
    with pytest.raises(errors.InvalidRequestError, match="cpus must be positive"):
        client.call("deploy", "adder", BUNDLE)


def test_the_type_of_an_endpoint_cannot_change(gateway: Any, client: Any) -> None:
    gateway.script(*LIST, found(endpoint()))
    with pytest.raises(errors.RefusedError, match="sync endpoint and cannot become a streaming one"):
        client.call("deploy", "adder", BUNDLE, EndpointSettings(endpoint_type="streaming"))
    assert [asked.method for asked in gateway.asked] == ["GET"]


def test_wrong_settings_are_named(gateway: Any, client: Any) -> None:
    gateway.script(*LIST, found())
    with pytest.raises(errors.RefusedError, match=r"gpu_type: .*; min_workers: "):
        client.call("deploy", "adder", BUNDLE, EndpointSettings(gpu_type="x", min_workers=-1))


def test_waiting_shows_each_change_and_ends_when_ready(gateway: Any, client: Any) -> None:
    states = [endpoint("UPDATE_PENDING"), endpoint("UPDATE_IN_PROGRESS"), endpoint("READY")]
    gateway.script("GET", ONE, *states)
    seen: list[str] = []
    assert client.call("wait_until_ready", "end_1", 60, lambda e: seen.append(e.status.value)).status == "READY"
    assert seen == ["UPDATE_PENDING", "UPDATE_IN_PROGRESS", "READY"]


def test_waiting_ends_with_the_reason_of_a_failure(gateway: Any, client: Any) -> None:
    gateway.script("GET", ONE, endpoint("UPDATE_FAILED", "IMPORT_ERROR: No module named x (Add it.)"))
    with pytest.raises(errors.EndpointFailedError, match="IMPORT_ERROR: No module named x"):
        client.call("wait_until_ready", "end_1")


def test_waiting_has_a_deadline(gateway: Any, client: Any) -> None:
    gateway.script("GET", ONE, endpoint("UPDATE_PENDING"))
    with pytest.raises(errors.WaitTimeoutError, match="still UPDATE_PENDING"):
        client.call("wait_until_ready", "end_1", 0)


def test_deleting_waits_until_the_endpoint_is_gone(gateway: Any, client: Any, answer: Any) -> None:
    gateway.script("DELETE", ONE, {"deleted": True})
    gateway.script("GET", ONE, endpoint("DELETE_IN_PROGRESS"), answer(404, {"detail": "gone"}))
    client.call("delete", "end_1")
    assert len(gateway.requests("GET", ONE)) == 2
    with pytest.raises(errors.NotFoundError):
        client.call("delete", "end_unknown")
