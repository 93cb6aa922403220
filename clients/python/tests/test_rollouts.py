"""Generations of an endpoint from Python and from the command line."""

import json
from typing import Any

import pytest

PATH = "/v1/model-endpoints/end_1"


def _revision(generation: int, **fields: Any) -> dict[str, Any]:
    return {
        "generation": generation,
        "created_at": "2026-01-02T03:04:05Z",
        "created_by": "ada",
        "model_bundle_id": "bun_1",
        "bundle_name": "digits",
        "current": False,
        "serving": False,
        "changed": [],
        "settings": {"max_workers": generation},
        **fields,
    }


REVISIONS = [_revision(3, current=True, changed=["cpus", "max_workers"]), _revision(2, serving=True), _revision(1)]
ENDPOINT = {
    "id": "end_1",
    "name": "digits",
    "endpoint_type": "sync",
    "destination": "x",
    "bundle_name": "digits",
    "status": "READY",
    "created_by": "ada",
    "created_at": "2026-01-02T03:04:05Z",
    "last_updated_at": "2026-01-02T03:04:05Z",
}
DONE = {"endpoint_creation_task_id": "t", "generation": 4, "rolled_back_to": 2}


@pytest.fixture
def scripted(gateway: Any) -> Any:
    gateway.script("GET", "/v1/model-endpoints", {"model_endpoints": []})
    gateway.script("GET", PATH, ENDPOINT)
    gateway.script("GET", f"{PATH}/revisions", {"revisions": REVISIONS})
    gateway.script("POST", f"{PATH}/rollback", DONE)
    return gateway


def test_both_clients_roll_back(scripted: Any, client: Any) -> None:
    assert [one.generation for one in client.call("revisions", "end_1")] == [3, 2, 1]
    assert client.call("rollback", "end_1").rolled_back_to == 2
    assert client.call("rollback", "end_1", 1).generation == 4
    asked = scripted.requests("POST", f"{PATH}/rollback")
    assert [one.json for one in asked] == [{}, {"generation": 1}]
    assert len({one.headers["idempotency-key"] for one in asked}) == 2


def test_history_shows_what_changed(scripted: Any, run: Any) -> None:
    lines = run("rollout", "history", "end_1").output.splitlines()
    assert [line.split()[0] for line in lines] == ["GENERATION", "3", "2", "1"]
    assert "current" in lines[1]
    assert lines[1].endswith("cpus, max_workers")
    assert "serving" in lines[2]
    assert "2" in run("rollout", "history", "end_1", "-g", "2").output
    unknown = run("rollout", "history", "end_1", "-g", "9")
    assert unknown.exit_code == 2
    assert json.loads(run("rollout", "history", "end_1", "-o", "json").output)[0]["current"]


def test_undo_goes_back(scripted: Any, run: Any) -> None:
    told = run("rollout", "undo", "end_1")
    assert told.output == "digits asks for what generation 2 did, as generation 4.\n"
    chosen = run("rollout", "undo", "end_1", "--to-generation", "1", "--no-wait", "-o", "json")
    assert json.loads(chosen.output) == DONE
    assert scripted.requests("POST", f"{PATH}/rollback")[-1].json == {"generation": 1}
