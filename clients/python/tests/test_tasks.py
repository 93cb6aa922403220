"""Managing tasks: what is asked of the gateway, and what the command line shows of its answers."""

import json
from typing import Any

TASK = {
    "task_id": "t",
    "endpoint_id": "end_1",
    "status": "UNDEFINED",
    "state": "CANCELLED",
    "attempt": 1,
    "submitted_at": "2026-01-02T03:04:05Z",
    "finished_at": None,
    "error": "Cancelled by its owner.",
}
LETTER = {
    "task_id": "t",
    "endpoint_id": "end_1",
    "attempt": 2,
    "deliveries": 5,
    "submitted_at": "2026-01-02T03:04:05Z",
    "failed_at": "2026-01-02T03:05:05Z",
    "error": "boom",
}
WHOLE = {"traceback": "Traceback", "worker": "w1", "request": '{"args":1}', "expires_seconds": 60}


def test_waiting_asks_the_gateway_to_wait(run: Any, gateway: Any) -> None:
    ended = {"task_id": "t", "status": "SUCCESS", "result": {"result": "5"}}
    gateway.script("GET", "/v1/async-tasks/t", {"task_id": "t", "status": "PENDING"}, ended)
    assert json.loads(run("task", "wait", "t", "--timeout", "15").stdout) == 5
    first, second = (request.query for request in gateway.requests("GET", "/v1/async-tasks/t"))
    assert first.startswith("wait=1")
    assert second.startswith("wait=1")


def test_tasks_are_listed_and_cancelled(run: Any, gateway: Any) -> None:
    gateway.script("GET", "/v1/async-tasks", {"async_tasks": [TASK], "next_cursor": "abc"})
    listed = run("task", "list", "--status", "UNDEFINED", "--limit", "5", "--cursor", "xyz")
    assert "CANCELLED" in listed.stdout
    assert "--cursor abc" in listed.stderr
    assert gateway.requests("GET", "/v1/async-tasks")[0].query == "limit=5&cursor=xyz&status=UNDEFINED"
    cancelled = {"task_id": "t", "cancelled": True, "status": "UNDEFINED"}
    gateway.script("POST", "/v1/async-tasks/t/cancel", cancelled, cancelled | {"cancelled": False})
    assert run("task", "cancel", "t").stdout == "t is cancelled.\n"
    assert run("task", "cancel", "t").stdout == "t has ended already: UNDEFINED\n"


def test_failed_tasks_are_shown_and_run_again(run: Any, gateway: Any) -> None:
    gateway.script("GET", "/v1/dead-letters", {"dead_letters": [LETTER], "next_cursor": None})
    assert "boom" in run("dlq", "list").stdout
    gateway.script("GET", "/v1/dead-letters/t", LETTER | WHOLE)
    assert '{"args":1}' in run("dlq", "get", "t").stdout
    gateway.script("POST", "/v1/dead-letters/t/replay", {"task_id": "t", "attempt": 3})
    assert run("dlq", "replay", "t").stdout == "t is queued again: attempt 3\n"


def test_a_callback_secret_is_made(client: Any, gateway: Any) -> None:
    gateway.script("POST", "/v1/callback-secret", {"secret": "whsec_x"})
    assert client.call("create_callback_secret") == "whsec_x"
