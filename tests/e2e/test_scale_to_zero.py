"""From zero to a first answer and back to zero, for each of the three ways of calling."""

import time
from collections.abc import Iterator
from typing import Literal

import pytest

from model_engine import EndpointSettings
from model_engine_local.testing import eventually
from platform_under_test import Platform

Way = Literal["sync", "streaming", "async"]


def echo(x: int) -> dict[str, int]:
    return {"y": x}


def echo_stream(x: int) -> Iterator[dict[str, int]]:
    yield {"y": x}


def call(platform: Platform, way: Way, endpoint_id: str) -> dict[str, int]:
    with platform.client() as client:
        if way == "sync":
            answer: dict[str, int] = client.predict(endpoint_id, {"x": 5}, timeout_seconds=30)
        elif way == "streaming":
            (answer,) = client.stream(endpoint_id, {"x": 5})
        else:
            answer = client.wait_for_task(client.submit(endpoint_id, {"x": 5}), 30)
    return answer


@pytest.mark.parametrize("way", ["sync", "streaming", "async"])
async def test_from_zero_and_back(platform: Platform, way: Way, capsys: pytest.CaptureFixture[str]) -> None:
    settings = EndpointSettings(endpoint_type=way, min_workers=0, max_workers=2)
    endpoint = platform.deploy(f"zero-{way}", echo_stream if way == "streaming" else echo, settings)
    assert endpoint.status.value == "READY", "the first rollout proves itself with one worker"
    await eventually(lambda: not platform.model_servers(), 30)

    started = time.monotonic()
    answer = call(platform, way, endpoint.id)
    answered = time.monotonic()
    assert answer == {"y": 5}
    await eventually(lambda: not platform.model_servers(), 30)
    back = time.monotonic()

    with platform.client() as client:
        assert client.endpoint(endpoint.id).status.value == "READY", "an endpoint at zero stays READY"
        scaled = [event for event in client.events(endpoint.id, after="0", follow=False) if ".scaled." in event.type]
        client.delete(endpoint.id)
    assert [event.data["to_workers"] for event in scaled] == [0, 1, 0]
    assert all(event.data["reason"] and event.data["inputs"] for event in scaled)
    with capsys.disabled():
        print(
            f"\n{way}: first answer from zero {answered - started:.2f} s, at zero again after {back - answered:.2f} s"
        )
