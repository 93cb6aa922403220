"""Bad input, by hand and by the thousand: never a 500, and the answer says what is wrong and where.

`make soak` sends 10,000 generated bodies, every other run 1,000.
"""

import asyncio
import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

BODY_ROUTES = (
    ("POST", "/v1/model-bundles"),
    ("POST", "/v2/model-bundles"),
    ("POST", "/v1/model-endpoints"),
    ("PUT", "/v1/model-endpoints/end_x"),
    ("POST", "/v1/event-subscriptions"),
    ("POST", "/v1/sync-tasks?model_endpoint_id=end_x"),
    ("POST", "/v1/streaming-tasks?model_endpoint_id=end_x"),
    ("POST", "/v1/async-tasks?model_endpoint_id=end_x"),
    ("POST", "/v1/admin/api-keys"),
    ("POST", "/v1/admin/api-keys/key_x/rotate"),
)

SYNTAX = (
    (b"{", 1),
    (b'{"name": }', 9),
    (b'{"name": "a",}', 13),
    (b"{'name': 1}", 1),
    (b'{"name": "a\nb"}', 11),
    (b'{"name": NaN}', None),
    (b'{"name": "\xff"}', None),
    (b"\x00", 0),
    (b"[" * 100_000, None),
    (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, None),
)

NOT_OBJECTS = (b"1", b'"x"', b"[]", b"true", b"-0.5", b'[{"name": "x"}]')

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**30), max_value=10**30)
    | st.sampled_from([2**31, 2**63, -1, 0, 10**400, -(10**400)])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(["", "\x00", "\ud800", "\u202e", "a" * 5000, "1Gi", "-1", "1e999", "http://", "{}", "🙂" * 99]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)


def _members(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where the values of a document are."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for name, child in children for deeper in _members(child, (*path, name)))]


def _replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = _replaced(copy[path[0]], path[1:], value)
    return copy


@st.composite
def _bodies(draw: st.DrawFn, documents: list[dict[str, Any]]) -> bytes:
    """A valid document with values replaced, members repeated, or bytes changed; or something else altogether."""
    document: Any = draw(st.sampled_from(documents))
    for _ in range(draw(st.integers(1, 3))):
        document = _replaced(document, draw(st.sampled_from(_members(document))), draw(VALUES))
    text = json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    kind = draw(st.integers(0, 9))
    if kind == 0 and text[:1] == b"{":
        repeated = json.dumps(draw(st.sampled_from(["name", "args", "owner", "flavor"]))).encode()
        return b"{" + repeated + b":" + json.dumps(draw(VALUES)).encode() + b"," + text[1:]
    if kind == 1:
        cut = draw(st.integers(0, len(text)))
        return text[:cut] + draw(st.binary(max_size=3)) + text[cut + draw(st.integers(0, 3)) :]
    if kind == 2:
        return draw(st.binary(max_size=60))
    return text


def _check(answer: httpx.Response, body: bytes) -> None:
    """Whatever it was, the answer is the API's own, and one of shape says where."""
    shown = (answer.request.method, answer.request.url.path, body[:300], answer.status_code, answer.text[:500])
    assert answer.status_code in (200, 400, 404, 409, 413, 422), shown
    if answer.status_code == 200:
        return
    told = answer.json()
    assert told["code"], shown
    if answer.status_code == 422:
        for problem in told["detail"]:
            assert problem["msg"], shown
            if problem["type"] == "json_invalid":
                assert problem["loc"][0] == "body", shown
                assert isinstance(problem["loc"][1], int), shown
            else:
                assert problem["loc"][0] in ("body", "query", "path", "header"), shown
    else:
        assert isinstance(told["detail"], str), shown
        assert told["detail"], shown


@pytest.fixture
def documents(
    bundle_body: dict[str, Any], endpoint_body: dict[str, Any], bundle_id: str, endpoint_id: str
) -> list[dict[str, Any]]:
    """Valid bodies, one per kind of request."""
    return [
        bundle_body,
        {
            "name": "b",
            "location": "s3://bucket/key",
            "requirements": ["numpy"],
            "env_params": {"framework_type": "pytorch", "pytorch_image_tag": "2"},
            "packaging_type": "cloudpickle",
            "metadata": {"load_predict_fn": "f", "load_model_fn": "g"},
            "app_config": {},
        },
        {**endpoint_body, "model_bundle_id": bundle_id, "default_callback_url": "https://203.0.113.1/"},
        {"url": "https://203.0.113.1/", "types": ["modelengine.bundle.created.v1"], "endpoint_id": endpoint_id},
        {"args": {"x": 1}, "url": None, "destination_path": "/predict", "timeout_seconds": 1, "num_retries": 1},
        {"owner": "eve", "user": "eve", "scopes": ["read"], "expires_in_seconds": 60, "overlap_seconds": 1},
    ]


@pytest.fixture
async def owner_key(platform: Any) -> str:
    return str(await platform.new_key("ada"))


async def _generated(platform: Any, key: str, documents: list[dict[str, Any]], endpoint_id: str, count: int) -> None:
    admin = {"authorization": f"Bearer {platform.gateway.settings.admin_token}"}
    owner = {"authorization": f"Bearer {key}"}
    routes = [(method, path.replace("s/end_x", f"s/{endpoint_id}")) for method, path in BODY_ROUTES]

    def send_all() -> None:
        with httpx.Client(base_url=platform.url, timeout=30) as http:

            @settings(
                max_examples=count,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(route=st.sampled_from(routes), body=_bodies(documents))
            def send(route: tuple[str, str], body: bytes) -> None:
                method, path = route
                headers = {**(admin if "/admin/" in path else owner), "content-type": "application/json"}
                _check(http.request(method, path, content=body, headers=headers), body)

            send()

    await asyncio.to_thread(send_all)


async def test_no_generated_body_is_answered_500(
    platform: Any, owner_key: str, documents: list[dict[str, Any]], endpoint_id: str
) -> None:
    await _generated(platform, owner_key, documents, endpoint_id, 1_000)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_no_body_of_ten_thousand_is_answered_500(
    platform: Any, owner_key: str, documents: list[dict[str, Any]], endpoint_id: str
) -> None:
    await _generated(platform, owner_key, documents, endpoint_id, 10_000)


async def test_syntax_errors_name_the_offset_and_shape_errors_the_field(platform: Any, owner_key: str) -> None:
    admin = {"authorization": f"Bearer {platform.gateway.settings.admin_token}"}
    owner = {"authorization": f"Bearer {owner_key}"}
    async with httpx.AsyncClient(base_url=platform.url, timeout=30) as http:
        for method, path in BODY_ROUTES:
            headers = {**(admin if "/admin/" in path else owner), "content-type": "application/json"}

            async def problem(body: bytes, method: str = method, path: str = path, headers: Any = headers) -> Any:
                answer = await http.request(method, path, content=body, headers=headers)
                assert (path, body[:20], answer.status_code) == (path, body[:20], 422), answer.text[:300]
                return answer.json()["detail"][0]

            for body, offset in SYNTAX:
                if "NaN" in str(body) and "tasks" in path:
                    continue  # arguments go to the model as they came
                told = await problem(body)
                assert (told["type"], told["loc"][0]) == ("json_invalid", "body"), (path, body[:20])
                assert isinstance(told["loc"][1], int)
                if offset is not None:
                    assert told["loc"][1] == offset, (path, body)
            for body in NOT_OBJECTS:
                told = await problem(body)
                assert (told["type"], told["loc"]) == ("model_attributes_type", ["body"]), (path, body)
            for body in (b"", b"null", b" \n"):
                assert (await problem(body))["type"] == "missing"


async def test_too_much_is_refused_before_it_is_read(platform: Any, client: httpx.AsyncClient, owner_key: str) -> None:
    limit = platform.gateway.settings.max_body_bytes
    body = b'{"name": "' + b"x" * limit + b'"}'
    for method, path in BODY_ROUTES:
        if "tasks" in path or "/admin/" in path:
            continue
        answer = await client.request(method, path, content=body)
        assert (path, answer.status_code, answer.json()["code"]) == (path, 413, "request_too_large")


async def test_wrong_types_name_their_field(client: httpx.AsyncClient, documents: list[dict[str, Any]]) -> None:
    endpoint = documents[2]
    wrong: list[tuple[str, Any]] = [
        ("name", 1),
        ("min_workers", -1),
        ("max_workers", "many"),
        ("per_worker", 0),
        ("labels", ["team"]),
        ("labels", {"team": 1, "product": "p"}),
        ("endpoint_type", "batch"),
        ("metadata", "text"),
        ("gpus", 1e308),
        ("default_callback_url", "ftp://x"),
        ("default_callback_auth", {"kind": "magic"}),
    ]
    for field, value in wrong:
        answer = await client.post("/v1/model-endpoints", json={**endpoint, field: value})
        assert (field, answer.status_code) == (field, 422), answer.text
        assert answer.json()["detail"][0]["loc"][:2] == ["body", field]


async def test_the_last_of_repeated_members_counts(client: httpx.AsyncClient, bundle_body: dict[str, Any]) -> None:
    text = b'{"name": 1, ' + json.dumps(bundle_body).encode()[1:]
    assert (await client.post("/v2/model-bundles", content=text)).status_code == 200
