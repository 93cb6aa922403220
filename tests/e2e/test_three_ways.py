"""The main path through five real services: deploy, call three ways, read what happened, delete."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from model_engine import EndpointSettings
from model_engine.errors import EndpointFailedError, NotFoundError, PredictionError
from model_engine_local.testing import eventually
from platform_under_test import Platform


def double(x: int, seconds: float = 0) -> dict[str, int]:
    time.sleep(seconds)
    return {"y": 2 * x}


def count(to: int) -> Iterator[dict[str, int]]:
    for number in range(to):
        yield {"n": number}


def fail(x: int) -> None:
    raise ValueError(f"no {x}")


@pytest.fixture(scope="module")
def sync_endpoint(platform: Platform) -> str:
    return platform.deploy("double-sync", double, EndpointSettings(endpoint_type="sync")).id


@pytest.fixture(scope="module")
def streaming_endpoint(platform: Platform) -> str:
    return platform.deploy("count", count, EndpointSettings(endpoint_type="streaming")).id


@pytest.fixture(scope="module")
def async_endpoint(platform: Platform) -> str:
    return platform.deploy("double-async", double, EndpointSettings(endpoint_type="async")).id


def test_a_sync_call_answers(platform: Platform, sync_endpoint: str) -> None:
    workers: list[str] = []
    with platform.client(on_worker=workers.append) as client:
        assert client.predict(sync_endpoint, {"x": 21}) == {"y": 42}
    assert len(workers) == 1


def test_the_wire_form_of_a_sync_answer_is_what_existing_clients_expect(platform: Platform, sync_endpoint: str) -> None:
    response = _post(platform, f"/v1/sync-tasks?model_endpoint_id={sync_endpoint}", {"args": {"x": 1}})
    assert response == {"status": "SUCCESS", "result": {"result": '{"y": 2}'}, "traceback": None, "status_code": 200}


def test_a_failing_prediction_brings_its_traceback(platform: Platform) -> None:
    endpoint = platform.deploy("fail", fail, EndpointSettings(endpoint_type="sync"))
    with platform.client() as client, pytest.raises(PredictionError, match="no 7"):
        client.predict(endpoint.id, {"x": 7})


def test_a_streaming_call_answers_event_by_event(platform: Platform, streaming_endpoint: str) -> None:
    with platform.client() as client:
        assert list(client.stream(streaming_endpoint, {"to": 5})) == [{"n": number} for number in range(5)]


def test_an_async_task_is_done_once(platform: Platform, async_endpoint: str) -> None:
    with platform.client() as client:
        tasks = [client.submit(async_endpoint, {"x": number}) for number in range(20)]
        assert [client.wait_for_task(task) for task in tasks] == [{"y": 2 * number} for number in range(20)]


async def test_a_running_task_is_cancelled(platform: Platform, async_endpoint: str) -> None:
    with platform.client() as client:
        task = client.submit(async_endpoint, {"x": 1, "seconds": 3})
        await eventually(lambda: client.task(task).status == "STARTED")
        assert client.cancel_task(task).cancelled
        assert client.wait_for_task(client.submit(async_endpoint, {"x": 2})) == {"y": 4}
        listed = client.tasks(endpoint_id=async_endpoint, limit=2).async_tasks
    assert [one.state for one in listed] == ["SUCCESS", "CANCELLED"]
    assert listed[1].task_id == task


def test_the_history_tells_the_story_in_order(platform: Platform, sync_endpoint: str) -> None:
    with platform.client() as client:
        events = list(client.events(sync_endpoint, after="0", follow=False))
    verbs = [event.type.split(".")[2] for event in events]
    assert verbs[0] == "requested"
    assert "worker-ready" in verbs
    assert [event.data["status"] for event in events if event.type.split(".")[2] == "status-changed"][-1] == "READY"
    positions = [int(event.position) for event in events]
    assert positions == sorted(set(positions))
    assert [event.raw["sequence"] for event in events] == list(range(1, len(events) + 1))


def test_another_owner_sees_nothing_of_it(platform: Platform, sync_endpoint: str) -> None:
    with platform.client(platform.new_key("stranger")) as stranger:
        assert stranger.endpoints() == []
        seen = [event.type for event in stranger.events(after="0", follow=False)]
        assert seen == ["modelengine.api-key.created.v1"], "its own key and nothing else"
        with pytest.raises(NotFoundError):
            stranger.predict(sync_endpoint, {"x": 1})
        with pytest.raises(NotFoundError):
            stranger.delete(sync_endpoint)


def test_requirements_that_do_not_resolve_explain_themselves(platform: Platform) -> None:
    with pytest.raises(EndpointFailedError, match="REQUIREMENTS_UNRESOLVABLE"):
        platform.deploy("broken", double, EndpointSettings(), requirements=("cloudpickle==0.0.99",))


def test_the_logs_are_readable(platform: Platform, sync_endpoint: str) -> None:
    with platform.client() as client:
        assert "cloudpickle" in "".join(client.logs(sync_endpoint, "build"))
        assert "".join(client.logs(sync_endpoint, "worker"))


async def test_delete_leaves_nothing_behind(platform: Platform) -> None:
    endpoint = platform.deploy("short-lived", double, EndpointSettings(endpoint_type="async"))
    before = {process.pid for process in platform.model_servers()}
    with platform.client() as client:
        client.delete(endpoint.id)
        assert "short-lived" not in [other.name for other in client.endpoints()]
        await eventually(lambda: len(platform.model_servers()) == len(before) - 1)
        last = list(client.events(endpoint.id, after="0", follow=False))[-1]
    assert last.type == "modelengine.endpoint.deleted.v1"


def _post(platform: Platform, path: str, body: Any) -> Any:
    import httpx

    headers = {"authorization": f"Bearer {platform.key}"}
    response = httpx.post(f"{platform.running.url}{path}", content=json.dumps(body), headers=headers, timeout=30)
    assert response.status_code == 200, response.text
    return response.json()
