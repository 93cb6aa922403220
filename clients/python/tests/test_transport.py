"""What is repeated and what is not, what errors become, and how broken event streams are taken up again."""

import inspect
import json
import socket
from typing import Any

import pytest

from model_engine import AsyncClient, Client, Connection, RetryPolicy, errors

TASK = {"task_id": "t", "status": "SUCCESS", "result": {"result": "1"}, "traceback": None, "status_code": 200}
VALUE = {"status": "SUCCESS", "result": {"result": '{"y": 1}'}, "traceback": None, "status_code": 200}
SYNC = ("POST", "/v1/sync-tasks")


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        members = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(f).parameters) for name, f in members if not name.startswith("_")}

    assert methods(Client) == methods(AsyncClient)


def test_a_read_is_repeated_whatever_went_wrong(gateway: Any, client: Any, answer: Any, cut: Any) -> None:
    gateway.script("GET", "/v1/async-tasks/t", answer(503), answer(502), cut, TASK)
    assert client.call("task", "t").status == "SUCCESS"
    assert [retry.attempt for retry in client.retries] == [2, 3, 4]
    assert [retry.cause[-10:] for retry in client.retries[:2]] == ["(HTTP 503)", "(HTTP 502)"]


def test_a_prediction_is_repeated_only_when_it_was_refused(gateway: Any, client: Any, answer: Any) -> None:
    gateway.script(*SYNC, answer(429, headers={"retry-after": "0"}), answer(503), VALUE)
    assert client.call("predict", "end_1", {"x": 1}) == {"y": 1}
    assert [asked.json for asked in gateway.asked] == [{"args": {"x": 1}}] * 3
    assert len(client.retries) == 2


def test_a_call_that_may_have_run_is_not_repeated(gateway: Any, client: Any, answer: Any, cut: Any) -> None:
    gateway.script(*SYNC, cut, answer(502))
    with pytest.raises(errors.ConnectionLostError):
        client.call("predict", "end_1", {})
    with pytest.raises(errors.UnavailableError):
        client.call("predict", "end_1", {})
    assert len(gateway.asked) == 2
    assert client.retries == []


def test_a_creation_is_repeated_under_one_key(gateway: Any, client: Any, answer: Any, cut: Any) -> None:
    running = answer(409, {"detail": "still running", "code": "idempotency_key_in_use"}, headers={"retry-after": "0"})
    gateway.script("POST", "/v1/async-tasks", cut, running, {"task_id": "t"})
    assert client.call("submit", "end_1", {}) == "t"
    assert len(client.retries) == 2
    assert client.call("submit", "end_1", {}) == "t"
    keys = [asked.headers["idempotency-key"] for asked in gateway.asked]
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_a_call_that_its_caller_vouches_for_is_repeated(gateway: Any, client: Any, answer: Any, cut: Any) -> None:
    gateway.script(*SYNC, cut, answer(504), VALUE)
    assert client.call("predict", "end_1", {}, repeatable=True) == {"y": 1}


def test_a_call_that_was_never_sent_is_repeated(client: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed_port = free.getsockname()[1]
    client.connection = Connection(f"http://127.0.0.1:{closed_port}", "the-key")
    with pytest.raises(errors.UnreachableError, match="cannot be reached"):
        client.call("submit", "end_1", {})
    assert len(client.retries) == client.policy.attempts - 1


def test_the_waits_are_bounded_and_honour_the_service() -> None:
    policy = RetryPolicy(attempts=3, base_seconds=1, cap_seconds=2, longest_wait_seconds=10)

    def delay(error: errors.ModelEngineError, attempt: int = 1) -> float | None:
        return policy.delay(error, repeatable=True, attempt=attempt)

    assert all(0 <= policy.backoff(attempt) <= 2 for attempt in range(1, 2000))
    assert delay(errors.api_error(503, {}, "7")) == pytest.approx(8, abs=1)
    assert delay(errors.api_error(503, {}, "11")) is None
    assert delay(errors.api_error(503, {}), attempt=3) is None
    assert delay(errors.api_error(500, {})) is None
    assert delay(errors.api_error(404, {})) is None


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (400, {"detail": "wrong", "code": "X"}, errors.InvalidRequestError, "wrong"),
        (
            422,
            {"detail": [{"loc": ["body", "name"], "msg": "Field required"}]},
            errors.InvalidRequestError,
            "name: Fie",
        ),
        (401, {"detail": "who?"}, errors.AuthenticationError, "who?"),
        (403, {"detail": "no"}, errors.AuthenticationError, "no"),
        (404, {"detail": "Not Found"}, errors.NotFoundError, "Not Found"),
        (409, {"detail": "busy"}, errors.ConflictError, "busy"),
        (500, {"error": "Internal error occurred."}, errors.ApiError, "Internal error"),
        (201, {"task_id": "t"}, errors.ApiError, "201"),
    ],
)
def test_error_answers_become_errors(
    gateway: Any, client: Any, answer: Any, status: int, body: Any, kind: type[errors.ApiError], text: str
) -> None:
    gateway.script("GET", "/v1/async-tasks/t", answer(status, body))
    with pytest.raises(kind, match=text) as caught:
        client.call("task", "t")
    assert type(caught.value) is kind
    assert caught.value.code == body.get("code")


def test_an_answer_of_something_else_is_not_taken_for_ours(gateway: Any, client: Any, answer: Any) -> None:
    gateway.script("GET", "/v1/model-endpoints", answer(body=b"<html>"), {"other": 1})
    for _ in range(2):
        with pytest.raises(errors.InvalidAnswerError):
            client.call("endpoints")


def test_the_key_is_sent_and_a_path_prefix_kept(gateway: Any, client: Any) -> None:
    gateway.script("GET", "/prefix/v1/async-tasks/a%2Fb", TASK)
    gateway.script("GET", "/prefix/v1/async-tasks/a/b", TASK)
    client.connection = Connection(gateway.url + "/prefix", "the-key")
    client.call("task", "a/b")
    assert gateway.asked[0].headers["authorization"] == "Bearer the-key"


def event(position: int) -> bytes:
    data = {"id": f"e{position}", "type": "modelengine.endpoint.scaled.v1", "subject": "end_1", "data": {"\u2028": 1}}
    text = json.dumps({**data, "time": "2026-01-02T03:04:05Z"}, ensure_ascii=False)
    return f"id: {position}\r\nevent: modelengine.endpoint.scaled.v1\r\ndata: {text}\r\n\r\n".encode()


def test_a_broken_event_stream_is_taken_up_after_the_last_event(
    gateway: Any, client: Any, answer: Any, cut: Any
) -> None:
    gateway.script(
        "GET",
        "/v1/events",
        answer(body=event(1) + event(2) + event(3)[:40], cut=True),
        answer(503),
        cut,
        answer(body=b": ping\r\n\r\n" + event(3)),
        answer(body=event(4)),
    )
    events = client.take(4, "events", after="0")
    assert [e.position for e in events] == ["1", "2", "3", "4"]
    assert [asked.headers["last-event-id"] for asked in gateway.asked] == ["0", "2", "2", "2", "3"]
    assert len(client.retries) == 4


def test_history_that_is_not_followed_ends(gateway: Any, client: Any, answer: Any) -> None:
    gateway.script("GET", "/v1/model-endpoints/end_1/events", answer(body=event(1)))
    assert len(client.take(9, "events", "end_1", after="0", follow=False)) == 1
    assert [asked.query for asked in gateway.asked] == ["follow=false"]


def test_an_event_stream_that_only_breaks_is_given_up(gateway: Any, client: Any, cut: Any) -> None:
    gateway.script("GET", "/v1/events", cut)
    with pytest.raises(errors.ConnectionLostError, match="in a row"):
        client.take(1, "events")
    assert len(gateway.asked) == client.policy.attempts


def streamed(result: Any, **more: Any) -> bytes:
    fields = {"status": "SUCCESS", "result": {"result": result}, "traceback": None, "status_code": 200, **more}
    return f"data: {json.dumps(fields, ensure_ascii=False)}\r\n\r\n".encode()


def test_a_stream_gives_its_values_and_then_its_failure(gateway: Any, client: Any, answer: Any) -> None:
    failure = streamed(None, status="FAILURE", traceback="Traceback\nValueError: no more", status_code=500)
    body = streamed({"a": 1}) + b": ping\r\n\r\n" + streamed("x\u2028\x85y") + streamed(None) + failure
    gateway.script("POST", "/v1/streaming-tasks", answer(503), answer(body=body))
    assert client.take(3, "stream", "end_1", {"n": 1}) == [{"a": 1}, "x\u2028\x85y", None]
    with pytest.raises(errors.PredictionError, match=r"^ValueError: no more$") as caught:
        client.take(9, "stream", "end_1", {"n": 1})
    assert caught.value.status_code == 500


def test_a_stream_that_breaks_is_an_error_and_not_repeated(gateway: Any, client: Any, answer: Any) -> None:
    gateway.script("POST", "/v1/streaming-tasks", answer(body=streamed(1), cut=True))
    with pytest.raises(errors.ConnectionLostError):
        client.take(9, "stream", "end_1", {})
    with pytest.raises(errors.ConnectionLostError):
        client.take(9, "stream", "end_1", {}, repeatable=True)
    assert len(gateway.asked) == 2


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"status": "FAILURE", "traceback": "Traceback\nKeyError: 'x'", "status_code": 500}, "KeyError: 'x'"),
        ({"status": "SUCCESS", "result": {"detail": {"traceback": "T\nE: y"}}, "status_code": 500}, "E: y"),
        ({"status": "SUCCESS", "result": {"result": '{"detail": "bad args"}'}, "status_code": 422}, "bad args"),
        ({"status": "FAILURE", "result": "expired"}, "expired"),
        ({"status": "UNDEFINED"}, "gave no reason"),
    ],
)
def test_a_failed_task_says_why(gateway: Any, client: Any, fields: dict[str, Any], text: str) -> None:
    pending = {"task_id": "t", "status": "PENDING"}
    gateway.script("GET", "/v1/async-tasks/t", pending, {**pending, "status": "STARTED"}, {"task_id": "t", **fields})
    with pytest.raises(errors.PredictionError, match=text):
        client.call("wait_for_task", "t")
    assert len(gateway.asked) == 3


def test_waiting_for_a_task_has_a_deadline(gateway: Any, client: Any) -> None:
    gateway.script("GET", "/v1/async-tasks/t", {"task_id": "t", "status": "PENDING"})
    with pytest.raises(errors.WaitTimeoutError, match="still PENDING"):
        client.call("wait_for_task", "t", timeout_seconds=0)


def test_a_log_is_text_even_where_its_pieces_split_a_character(gateway: Any, client: Any, answer: Any) -> None:
    gateway.script("GET", "/v1/model-endpoints/end_1/logs", answer(body="größer\n".encode()))
    assert "".join(client.take(99, "logs", "end_1", "build", follow=True)) == "größer\n"
    assert gateway.asked[0].query == "source=build&follow=true"
