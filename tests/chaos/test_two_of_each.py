"""Two processes of every service: both work, and one finishes what the other began."""

import re

import pytest

from model_engine import Bundle, EndpointSettings
from model_engine_local.testing import eventually
from platform_under_test import Platform, PlatformFactory


def echo(x: int) -> int:
    return x


def load_slowly() -> dict[str, str]:
    import time

    time.sleep(4)
    return {}


def load_predict_fn(_: dict[str, str]) -> object:
    return echo


@pytest.fixture(scope="module")
def pair(start_platform: PlatformFactory) -> Platform:
    return start_platform(
        scale={"gateway": 2, "builder": 2, "cache": 2, "autoscaler": 2},
        ME_STABLE_WINDOW_SECONDS="2",
        ME_ZERO_GRACE_SECONDS="1",
    )


def _log(platform: Platform, name: str) -> str:
    return (platform.folder / "logs" / f"{name}.log").read_text(errors="replace")


async def test_a_builder_that_dies_in_mid_preparation_is_replaced(pair: Platform) -> None:
    with pair.client() as client:
        bundle = Bundle(load_predict_fn, load_slowly, requirements=("numpy", "joblib"))
        endpoint = client.deploy("mid-preparation", bundle, EndpointSettings())
        await eventually(lambda: _verbs(pair, endpoint.id).count("status-changed") >= 1, 20, 0.01)
        pair.kill("builder")
        assert client.wait_until_ready(endpoint.id, 90).status.value == "READY"


async def test_a_builder_that_dies_in_mid_rollout_is_replaced(pair: Platform) -> None:
    with pair.client() as client:
        endpoint = client.deploy("mid-rollout", Bundle(load_predict_fn, load_slowly), EndpointSettings())
        await eventually(lambda: client.endpoint(endpoint.id).status.value == "UPDATE_IN_PROGRESS", 30, 0.05)
        pair.kill("builder")
        assert client.wait_until_ready(endpoint.id, 90).status.value == "READY"


async def test_both_of_each_work(pair: Platform) -> None:
    with pair.client() as client:
        for number in range(6):
            client.deploy(f"many-{number}", Bundle(load_predict_fn, model={}), EndpointSettings(min_workers=0))
        for endpoint in client.endpoints():
            client.wait_until_ready(endpoint.id, 90)
    for service, proof in {"builder": r"step", "gateway": r"listens"}.items():
        for number in (1, 2):
            assert re.search(proof, _log(pair, f"{service}-{number}")), f"{service}-{number} did nothing"
    for service in ("cache", "autoscaler"):
        leader = next(number for number in (1, 2) if "lease taken" in _log(pair, f"{service}-{number}"))
        with pair.stopped(f"{service}-{leader}"):
            standby = f"{service}-{3 - leader}"
            await eventually(lambda name=standby: "lease taken" in _log(pair, name), 30)
        await eventually(lambda name=f"{service}-{leader}": "lease lost" in _log(pair, name), 30)
    assert pair.call_fresh("after-takeover", echo) == 3, "the new leaders do the work"


def _verbs(platform: Platform, endpoint_id: str) -> list[str]:
    with platform.client() as client:
        return [event.type.split(".")[2] for event in client.events(endpoint_id, after="0", follow=False)]
