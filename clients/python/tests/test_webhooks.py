"""Webhooks from Python and from the command line."""

import json
from typing import Any

import pytest

PATH = "/v1/event-subscriptions"
SUBSCRIPTION = {
    "id": "sub_1",
    "url": "https://receiver.test/hook",
    "types": None,
    "endpoint_id": None,
    "status": "ACTIVE",
    "disabled_reason": None,
    "created_by": "ada",
    "created_at": "2026-01-02T03:04:05Z",
    "position": 7,
    "failing_since": "2026-01-02T03:04:06Z",
    "attempts": 2,
    "next_attempt_at": None,
}
DELIVERY = {
    "at": "2026-01-02T03:04:05Z",
    "event_id": "event-1",
    "type": "modelengine.endpoint.scaled.v1",
    "position": 8,
    "attempt": 2,
    "delivered": False,
    "status_code": 503,
    "error": "The receiver answered 503.",
    "seconds": 0.01,
}
DELIVERED = {**DELIVERY, "delivered": True, "status_code": 200, "error": None}


@pytest.fixture
def scripted(gateway: Any) -> Any:
    gateway.script("POST", PATH, {**SUBSCRIPTION, "secret": "whsec_x"})
    gateway.script("GET", PATH, {"event_subscriptions": [SUBSCRIPTION]})
    gateway.script("GET", f"{PATH}/sub_1", SUBSCRIPTION)
    gateway.script("DELETE", f"{PATH}/sub_1", {"deleted": True})
    gateway.script("POST", f"{PATH}/sub_1/test", DELIVERY, DELIVERED)
    gateway.script("GET", f"{PATH}/sub_1/deliveries", {"deliveries": [DELIVERY]})
    return gateway


def test_both_clients_speak_of_subscriptions(scripted: Any, client: Any) -> None:
    created = client.call("create_subscription", "https://receiver.test/hook", types=["a"], after=3)
    assert (created.id, created.secret) == ("sub_1", "whsec_x")
    assert scripted.requests("POST", PATH)[0].json == {"url": "https://receiver.test/hook", "types": ["a"], "after": 3}
    assert [one.id for one in client.call("subscriptions")] == ["sub_1"]
    assert client.call("subscription", "sub_1").position == 7
    assert client.call("test_subscription", "sub_1").status_code == 503
    assert client.call("subscription_deliveries", "sub_1", 5)[0].attempt == 2
    assert scripted.requests("GET", f"{PATH}/sub_1/deliveries")[0].query == "limit=5"
    client.call("delete_subscription", "sub_1")
    assert len(scripted.requests("DELETE", f"{PATH}/sub_1")) == 1


def test_a_subscription_is_not_made_twice(gateway: Any, client: Any, cut: Any) -> None:
    gateway.script("POST", PATH, cut)
    with pytest.raises(Exception, match="connection"):
        client.call("create_subscription", "https://receiver.test/hook")
    assert len(gateway.requests("POST", PATH)) == 1


def test_the_command_line_shows_them(scripted: Any, run: Any) -> None:
    created = run("webhook", "create", "https://receiver.test/hook", "--type", "a", "--type", "b", "--after", "0")
    assert "whsec_x" in created.stdout
    assert scripted.requests("POST", PATH)[0].json == {
        "url": "https://receiver.test/hook",
        "types": ["a", "b"],
        "after": 0,
    }
    assert "2026-01-02 03:04:06" in run("webhook", "list").stdout
    assert json.loads(run("webhook", "get", "sub_1", "-o", "json").stdout) == SUBSCRIPTION
    failed = run("webhook", "test", "sub_1")
    assert (failed.exit_code, "answered 503" in failed.stderr) == (1, True)
    assert run("webhook", "test", "sub_1").stdout == "delivered: 200 in 0.010 s\n"
    assert "endpoint.scaled.v1" in run("webhook", "deliveries", "sub_1").stdout
    assert run("webhook", "delete", "sub_1").stdout == "sub_1 is deleted.\n"
