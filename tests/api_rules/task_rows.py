"""Rows of section 6.5: what predictions answer. The worker answers as the request's `args` say."""

from dataclasses import replace
from typing import Any

from api_rules.row import Like, Off, Row, problem, refusal, rule_of
from model_engine_contracts.endpoint_states import EndpointType
from model_engine_gateway.inference.directory import EndpointDirectory, EndpointInfo


def _answers(status: int, body: Any) -> dict[str, Any]:
    return {"args": {"status": status, "body": body}}


def _task(rule: str, route: str, kind: str, status: int, answer: Any, **more: Any) -> Row:
    path = f"/v1/{route}-tasks?model_endpoint_id=" + (kind if kind == "end_x" else f"<endpoint:{kind}>")
    return Row("6.5", f"{route}: {rule}", "POST", path, status, answer, **{"body": {"args": {}}, **more})


def _ended(status: str, result: Any, traceback: Any, code: int) -> dict[str, Any]:
    return {"status": status, "result": result, "traceback": traceback, "status_code": code}


_get = EndpointDirectory.get


async def _every_endpoint(directory: EndpointDirectory, endpoint_id: str) -> EndpointInfo:
    """An endpoint that everybody may call, whatever its id and owner."""
    found = await _get(directory, endpoint_id) or EndpointInfo(
        endpoint_id,
        "",
        EndpointType.SYNC,
        public=True,
        hopeless=True,
        task_expires_seconds=1,
        queue_message_timeout_seconds=1,
    )
    return replace(found, public=True)


_FIND = Off("model_engine_gateway.inference.directory", "EndpointDirectory.get", _every_endpoint)
_UNKNOWN = refusal("The specified endpoint could not be found.", "endpoint_not_found")


def _type(kind: str, text: str) -> Any:
    return refusal(f"Unsupported inference type: Endpoint <endpoint:{kind}> {text}.", "unsupported_inference_type")


def _off_type(module: str) -> Off:
    return rule_of(module, "require_type")


_ANSWER = rule_of("inference.sync_tasks", "sync_answer", lambda status, body: body)
_READ = rule_of("inference.routing", "read_predict_request")

ROWS = [
    *(_task("unknown endpoint", route, "end_x", 404, _UNKNOWN, off=_FIND) for route in ("sync", "async", "streaming")),
    *(
        _task("foreign endpoint", route, kind, 404, _UNKNOWN, off=_FIND, caller="eve")
        for route, kind in (("sync", "built"), ("async", "async"), ("streaming", "streaming"))
    ),
    _task(
        "a public endpoint is for everybody", "sync", "public", 200, _ended("SUCCESS", None, None, 200), caller="eve"
    ),
    _task(
        "not for sync endpoints",
        "async",
        "built",
        400,
        _type("built", "is not an async endpoint"),
        off=_off_type("tasks.submit"),
    ),
    _task(
        "not for streaming endpoints",
        "async",
        "streaming",
        400,
        _type("streaming", "is not an async endpoint"),
        off=_off_type("tasks.submit"),
    ),
    _task(
        "not for async endpoints",
        "sync",
        "async",
        400,
        _type("async", "does not serve sync tasks"),
        off=_off_type("inference.sync_tasks"),
    ),
    _task(
        "not for sync endpoints",
        "streaming",
        "built",
        400,
        _type("built", "is not a streaming endpoint"),
        off=_off_type("inference.streaming_tasks"),
    ),
    *(
        Row(
            "6.5",
            f"{route}: the endpoint is named",
            "POST",
            f"/v1/{route}-tasks",
            422,
            problem("missing", ["query", "model_endpoint_id"], "Field required", None),
            _READ,
            {},
        )
        for route in ("sync", "async", "streaming")
    ),
    _task(
        "timeout_seconds is positive",
        "sync",
        "built",
        422,
        problem("greater_than", ["body", "timeout_seconds"], "Input should be greater than 0", 0, {"gt": 0}),
        off=_READ,
        body={"timeout_seconds": 0},
    ),
    _task(
        "num_retries is not negative",
        "streaming",
        "streaming",
        422,
        problem(
            "greater_than_equal", ["body", "num_retries"], "Input should be greater than or equal to 0", -1, {"ge": 0}
        ),
        off=_READ,
        body={"num_retries": -1},
    ),
    _task("accepted", "async", "async", 200, {"task_id": Like("[0-9a-f-]{36}")}),
    Row(
        "6.5",
        "async: an unknown task is PENDING (14)",
        "GET",
        "/v1/async-tasks/b8a6b1fa-0000-4000-8000-000000000000",
        200,
        {
            "task_id": "b8a6b1fa-0000-4000-8000-000000000000",
            "status": "PENDING",
            "result": None,
            "traceback": None,
            "status_code": None,
        },
    ),
    _task(
        "SUCCESS",
        "sync",
        "built",
        200,
        _ended("SUCCESS", {"result": '{"y": 1}'}, None, 200),
        off=_ANSWER,
        body=_answers(200, {"result": '{"y": 1}'}),
    ),
    _task(
        "streaming endpoints serve sync tasks",
        "sync",
        "streaming",
        200,
        _ended("SUCCESS", 1, None, 200),
        off=_ANSWER,
        body=_answers(200, 1),
    ),
    _task(
        "the model's 400",
        "sync",
        "built",
        400,
        refusal('Invalid request: {"detail":"no"}', "model_refused_request"),
        off=_ANSWER,
        body=_answers(400, {"detail": "no"}),
    ),
    _task(
        "the model's 400, unwrapped",
        "sync",
        "built",
        400,
        refusal('Invalid request: {"detail": "no"}', "model_refused_request"),
        off=_ANSWER,
        body=_answers(400, {"result": '{"detail": "no"}'}),
    ),
    _task(
        "a traceback",
        "sync",
        "built",
        200,
        _ended("FAILURE", None, "tb", 500),
        off=_ANSWER,
        body=_answers(500, {"detail": {"traceback": "tb"}}),
    ),
    _task(
        "a wrapped traceback",
        "sync",
        "built",
        200,
        _ended("FAILURE", None, "tb", 500),
        off=_ANSWER,
        body=_answers(500, {"result": '{"detail": {"traceback": "tb"}}'}),
    ),
    _task(
        "a list of problems",
        "sync",
        "built",
        200,
        _ended("FAILURE", None, '{"detail":[1]}', 422),
        off=_ANSWER,
        body=_answers(422, {"detail": [1]}),
    ),
    _task(
        "overloaded after retries",
        "sync",
        "built",
        200,
        _ended("FAILURE", None, "Too many concurrent requests", 429),
        off=rule_of("inference.sync_tasks", "refusal", lambda status: "?"),
        body={**_answers(429, {}), "num_retries": 0},
    ),
    _task(
        "no worker",
        "sync",
        "built",
        200,
        _ended("FAILURE", None, "No healthy upstream", 503),
        off=rule_of("inference.sync_tasks", "refusal", lambda status: "?"),
        body={**_answers(503, {}), "num_retries": 0},
    ),
    _task(
        "a real deadline (W-19)",
        "sync",
        "new",
        408,
        refusal("Request timed out.", "request_timed_out"),
        off=rule_of("inference.sync_tasks", "loop_deadline"),
        body={"timeout_seconds": 0.2},
    ),
    _task(
        "an event",
        "streaming",
        "streaming",
        200,
        'data: {"status":"SUCCESS","result":{"result":{"y":1}},"traceback":null,"status_code":200}\r\n\r\n',
        body={"args": {"events": ['{"result":{"y":1}}']}},
    ),
]
