"""The command line: what each command prints and which status it ends with."""

import json
from pathlib import Path
from typing import Any

import pytest

from model_engine.cli import app as command_line
from model_engine.cli.exit_codes import MEANINGS

ENDPOINT = {
    "id": "end_1",
    "name": "adder",
    "endpoint_type": "sync",
    "destination": "end_1",
    "bundle_name": "adder",
    "status": "READY",
    "status_reason": None,
    "created_by": "me",
    "created_at": "2026-01-02T03:04:05Z",
    "last_updated_at": "2026-01-02T03:04:05Z",
    "deployment_state": {
        "min_workers": 1,
        "max_workers": 4,
        "per_worker": 1,
        "concurrent_requests_per_worker": 1,
        "available_workers": 2,
    },
}
FOUND = ("GET", "/v1/model-endpoints", {"model_endpoints": [ENDPOINT]})
SYNC_ANSWER = {"status": "SUCCESS", "result": {"result": '{"y": 1}'}, "traceback": None, "status_code": 200}
SOURCE = "def load_predict_fn(model):\n    return lambda x: x\n"


def test_help_shows_every_exit_status(run: Any) -> None:
    text = run("--help").output
    for code, meaning in MEANINGS.items():
        assert f"{code.value:>4}  {meaning}" in text


@pytest.mark.parametrize(
    ("answer_status", "exit_status"),
    [(400, 2), (422, 2), (401, 4), (403, 4), (404, 3), (408, 5), (409, 1), (500, 1)],
)
def test_error_answers_have_their_exit_status(
    run: Any, gateway: Any, answer: Any, answer_status: int, exit_status: int
) -> None:
    gateway.script("GET", "/v1/model-endpoints", answer(answer_status, {"detail": "the detail"}))
    result = run("list")
    assert result.exit_code == exit_status
    assert "the detail" in result.stderr
    assert result.stdout == ""


def test_wrong_usage_is_status_2(run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run("get").exit_code == 2
    assert run("predict", "adder", "{not json").exit_code == 2
    assert run("deploy", "adder", str(tmp_path / "missing.py")).exit_code == 2
    monkeypatch.delenv("ME_URL")
    assert "ME_URL" in run("list").stderr


def test_endpoints_are_shown_as_tables_and_as_json(run: Any, gateway: Any) -> None:
    gateway.script(*FOUND)
    table = run("list").stdout
    assert [line.split()[:6] for line in table.splitlines()] == [
        ["NAME", "TYPE", "STATUS", "WORKERS", "ID", "REASON"],
        ["adder", "sync", "READY", "2", "of", "1-4"],
    ]
    assert json.loads(run("list", "-o", "json").stdout)[0]["id"] == "end_1"
    assert "2 of 1-4" in run("get", "adder").stdout
    assert json.loads(run("get", "adder", "-o", "json").stdout)["deployment_state"]["available_workers"] == 2


def test_an_endpoint_is_found_by_its_id(run: Any, gateway: Any) -> None:
    gateway.script("GET", "/v1/model-endpoints", {"model_endpoints": []})
    gateway.script("GET", "/v1/model-endpoints/end_1", ENDPOINT)
    assert run("get", "end_1").exit_code == 0


def test_deploy_waits_and_shows_the_endpoint(run: Any, gateway: Any, tmp_path: Path) -> None:
    source = tmp_path / "cli_test_source.py"
    source.write_text(SOURCE)
    (tmp_path / "requirements.txt").write_text("# tools\nnumpy==2.4.6\n\n")
    gateway.script("POST", "/v1/artifacts", {"location": "artifact://a", "sha256": "0" * 64, "size": 1})
    gateway.script("POST", "/v2/model-bundles", {"model_bundle_id": "bun_1"})
    gateway.script("GET", "/v1/model-endpoints", {"model_endpoints": []}, FOUND[2])
    gateway.script("POST", "/v1/model-endpoints", {"endpoint_creation_task_id": "t"})
    gateway.script("GET", "/v1/model-endpoints/end_1", {**ENDPOINT, "status": "UPDATE_PENDING"}, ENDPOINT)
    result = run(
        *("deploy", "adder", str(source), "--type", "async", "--min-workers", "0", "-r", "scipy"),
        *("--requirements", str(tmp_path / "requirements.txt"), "--label", "team=a", "--label", "product=b"),
        *("--app-config", '{"a": 1}', "-o", "json"),
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["status"] == "READY"
    assert "UPDATE_PENDING" in result.stderr
    flavor = gateway.requests("POST", "/v2/model-bundles")[0].json["flavor"]
    assert (flavor["requirements"], flavor["app_config"]) == (["scipy", "numpy==2.4.6"], {"a": 1})
    created = gateway.requests("POST", "/v1/model-endpoints")[0].json
    assert (created["endpoint_type"], created["min_workers"]) == ("async", 0)
    assert created["labels"] == {"team": "a", "product": "b"}


def test_a_failed_deployment_says_why(run: Any, gateway: Any, tmp_path: Path) -> None:
    source = tmp_path / "cli_test_source.py"
    source.write_text(SOURCE)
    failed = {**ENDPOINT, "status": "UPDATE_FAILED", "status_reason": "IMPORT_ERROR: no numpy (Add it.)"}
    gateway.script("POST", "/v1/artifacts", {"location": "artifact://a", "sha256": "0" * 64, "size": 1})
    gateway.script("POST", "/v2/model-bundles", {"model_bundle_id": "bun_1"})
    gateway.script(*FOUND)
    gateway.script("PUT", "/v1/model-endpoints/end_1", {"endpoint_creation_task_id": "t"})
    gateway.script("GET", "/v1/model-endpoints/end_1", failed)
    result = run("deploy", "adder", str(source))
    assert result.exit_code == 1
    assert "IMPORT_ERROR: no numpy (Add it.)" in result.stderr
    assert run("deploy", "adder", str(source), "--no-wait").exit_code == 0
    assert run("deploy", "adder", str(source), "--load-predict", "other").exit_code == 2


@pytest.mark.parametrize("source", ["argument", "file", "standard input"])
def test_predict_reads_its_arguments_and_prints_the_value(run: Any, gateway: Any, tmp_path: Path, source: str) -> None:
    gateway.script(*FOUND)
    gateway.script("POST", "/v1/sync-tasks", SYNC_ANSWER)
    (tmp_path / "args.json").write_text('{"x": 1}')
    words = {"argument": '{"x": 1}', "file": f"@{tmp_path}/args.json", "standard input": "-"}
    result = run("predict", "adder", words[source], "--timeout", "5", input='{"x": 1}')
    assert json.loads(result.stdout) == {"y": 1}
    assert gateway.requests("POST", "/v1/sync-tasks")[0].json == {"args": {"x": 1}, "timeout_seconds": 5}


def test_predict_streams_one_line_per_value(run: Any, gateway: Any, answer: Any) -> None:
    gateway.script("GET", "/v1/model-endpoints", {"model_endpoints": [{**ENDPOINT, "endpoint_type": "streaming"}]})
    events = [{"status": "SUCCESS", "result": {"result": n}, "traceback": None, "status_code": 200} for n in (1, "é")]
    body = "".join(f"data: {json.dumps(event)}\r\n\r\n" for event in events).encode()
    gateway.script("POST", "/v1/streaming-tasks", answer(body=body))
    assert run("predict", "adder", "{}").stdout == '1\n"é"\n'


def test_predict_queues_a_task_and_waits_for_it(run: Any, gateway: Any) -> None:
    gateway.script("GET", "/v1/model-endpoints", {"model_endpoints": [{**ENDPOINT, "endpoint_type": "async"}]})
    gateway.script("POST", "/v1/async-tasks", {"task_id": "t"})
    gateway.script("GET", "/v1/async-tasks/t", {"task_id": "t", "status": "PENDING"}, {"task_id": "t", **SYNC_ANSWER})
    assert json.loads(run("predict", "adder", "{}").stdout) == {"y": 1}
    assert run("predict", "adder", "{}", "--no-wait").stdout == "t\n"
    assert json.loads(run("task", "get", "t", "-o", "json").stdout)["status"] == "SUCCESS"


def test_a_failed_prediction_is_status_1_and_a_task_that_lasts_status_5(run: Any, gateway: Any) -> None:
    gateway.script(*FOUND)
    gateway.script("POST", "/v1/sync-tasks", {"status": "FAILURE", "traceback": "Traceback\nKeyError: 'x'"})
    gateway.script("GET", "/v1/async-tasks/t", {"task_id": "t", "status": "STARTED"})
    result = run("predict", "adder", "{}")
    assert (result.exit_code, result.stderr) == (1, "Error: KeyError: 'x'\n")
    assert run("task", "get", "t", "--wait", "--timeout", "0").exit_code == 5


def test_events_and_logs_are_printed_as_they_come(run: Any, gateway: Any, answer: Any) -> None:
    gateway.script(*FOUND)
    cloud_event = {
        "id": "e1",
        "type": "modelengine.endpoint.scaled.v1",
        "subject": "end_1",
        "time": "2026-01-02T03:04:05Z",
        "data": {"to_workers": 2, "reason": None},
    }
    body = f"id: 7\r\ndata: {json.dumps(cloud_event)}\r\n\r\n".encode()
    gateway.script("GET", "/v1/model-endpoints/end_1/events", answer(body=body))
    gateway.script("GET", "/v1/model-endpoints/end_1/logs", answer(body=b"one\ntwo\n"))
    assert run("events", "adder").stdout.split() == ["7", "03:04:05", "endpoint.scaled.v1", "to_workers=2"]
    assert json.loads(run("events", "adder", "-o", "json").stdout) == cloud_event
    assert gateway.requests("GET", "/v1/model-endpoints/end_1/events")[0].headers["last-event-id"] == "0"
    assert run("logs", "adder", "--source", "build").stdout == "one\ntwo\n"


def test_delete_waits_until_the_endpoint_is_gone(run: Any, gateway: Any, answer: Any) -> None:
    gateway.script(*FOUND)
    gateway.script("DELETE", "/v1/model-endpoints/end_1", {"deleted": True})
    gateway.script("GET", "/v1/model-endpoints/end_1", ENDPOINT, answer(404, {"detail": "gone"}))
    assert json.loads(run("delete", "adder", "-o", "json").stdout) == {"id": "end_1", "deleted": True}


def test_api_keys_are_made_with_the_administrators_token(run: Any, gateway: Any, tmp_path: Path) -> None:
    (tmp_path / "admin-token").write_text("the-token")
    made = {"id": "key_1", "key": "me_secret", "owner": "ada"}
    gateway.script("POST", "/v1/admin/api-keys", made)
    listed = {"id": "key_1", "owner": "ada", "user": "ada", "created_at": "2026-01-02T03:04:05Z", "revoked_at": None}
    gateway.script("GET", "/v1/admin/api-keys", {"api_keys": [listed]})
    gateway.script("DELETE", "/v1/admin/api-keys/key_1", {"revoked": True})
    assert json.loads(run("api-key", "create", "--owner", "ada", "-o", "json").stdout).items() >= made.items()
    assert "me_secret" in run("api-key", "create", "--owner", "ada").stdout
    assert "ada" in run("api-key", "list").stdout
    assert run("api-key", "revoke", "key_1").stdout == "key_1 is revoked.\n"

    reader = ("api-key", "create", "--owner", "ada", "--scope", "read", "--expires", "30d", "--unprivileged")
    assert run(*reader).exit_code == 0
    assert gateway.asked[-1].json == {
        "owner": "ada",
        "scopes": ["read"],
        "expires_in_seconds": 30 * 86_400,
        "privileged": False,
    }
    rotated = {**made, "id": "key_2", "replaces": "key_1", "replaced_expires_at": "2026-01-02T03:04:05Z"}
    gateway.script("POST", "/v1/admin/api-keys/key_1/rotate", rotated)
    assert "key_1, which ends 2026-01-02 03:04:05" in run("api-key", "rotate", "key_1", "--overlap", "1h").stdout
    assert gateway.asked[-1].json == {"overlap_seconds": 3600}
    assert run("api-key", "rotate", "key_1", "--overlap", "soon").exit_code == 2
    assert {asked.headers["authorization"] for asked in gateway.asked} == {"Bearer the-token"}


def test_other_packages_add_commands(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    class FakeEntryPoint:
        @staticmethod
        def load() -> typer.Typer:
            more = typer.Typer()
            more.command("up")(lambda: typer.echo("started"))
            return more

    def find(group: str) -> list[type[FakeEntryPoint]]:
        return [FakeEntryPoint] if group == "model_engine.commands" else []

    monkeypatch.setattr(command_line, "entry_points", find)
    assert run("up").stdout == "started\n"


def test_a_result_with_brackets_is_not_taken_for_markup(run: Any, gateway: Any) -> None:
    gateway.script("GET", "/v1/model-endpoints", {"model_endpoints": [{**ENDPOINT, "status_reason": "[red]x[/blue]"}]})
    assert "[red]x[/blue]" in run("list").stdout


def test_the_readme_shows_every_exit_status() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    for code, meaning in MEANINGS.items():
        assert f"| {code.value} | {meaning} |" in readme


def test_describe_explains_a_failure(run: Any, gateway: Any, answer: Any) -> None:
    reason = "EXITED: The model server exited with code 3. (Read the log.)"
    gateway.script(
        "GET",
        "/v1/model-endpoints",
        {"model_endpoints": [{**ENDPOINT, "status": "UPDATE_FAILED", "status_reason": reason}]},
    )
    failure = {
        "code": "EXITED",
        "message": "The model server exited with code 3.",
        "remedy": "Read the log.",
        "exit_code": 3,
        "log_tail": "one\nlast words",
    }
    event = {
        "specversion": "1.0",
        "id": "evt_1",
        "source": "gateway",
        "subject": "end_1",
        "position": 7,
        "type": "modelengine.endpoint.status-changed.v1",
        "time": "2026-01-02T03:04:05Z",
        "data": {"status": "UPDATE_FAILED", "failure": failure},
    }
    body = f"id: 7\ndata: {json.dumps(event)}\n\n".encode()
    gateway.script("GET", "/v1/model-endpoints/end_1/events", answer(body=body), answer(body=body), answer(body=b""))
    text = run("describe", "adder").stdout
    for part in ("EXITED", "exited with code 3", "exit code  3", "Read the log.", "  last words", "status-changed.v1"):
        assert part in text
    document = json.loads(run("describe", "adder", "-o", "json").stdout)
    assert (document["code"], document["exit_code"], document["log_lines"]) == ("EXITED", 3, ["one", "last words"])
    without_history = json.loads(run("describe", "adder", "-o", "json").stdout)
    assert (without_history["cause"], without_history["remedy"]) == (failure["message"], failure["remedy"])
