"""Health: alive is not ready, and whoever is not ready says why."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from model_engine_chassis import health as health_module
from model_engine_chassis.health import Health, serve_health
from model_engine_local.testing import eventually


async def fine() -> None:
    """A dependency that answers."""


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def client(health: Health) -> AsyncIterator[httpx.AsyncClient]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await health.app(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as opened:
        yield opened


async def test_ready_when_every_check_passes(health: Health, client: httpx.AsyncClient) -> None:
    health.add_check("mongo", fine)
    assert (await client.get("/readyz")).status_code == 200
    verbose = (await client.get("/readyz?verbose")).json()
    assert verbose == {"ready": True, "checks": {"mongo": "ok"}}


async def test_not_ready_names_the_check_and_its_error_and_stays_alive(
    health: Health, client: httpx.AsyncClient
) -> None:
    async def broken() -> None:
        raise ConnectionError("refused")

    health.add_check("nats", fine)
    health.add_check("mongo", broken)
    verbose = await client.get("/readyz?verbose")
    assert verbose.status_code == 503
    assert verbose.json() == {"ready": False, "checks": {"nats": "ok", "mongo": "refused"}}
    assert (await client.get("/livez")).status_code == 200
    assert (await client.get("/healthz")).status_code == 200


async def test_a_check_that_hangs_is_given_up(
    health: Health, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "CHECK_SECONDS", 0.05)
    health.add_check("redis", asyncio.Event().wait)
    assert (await client.get("/readyz?verbose")).json()["checks"] == {"redis": "no answer within 0.05 s"}


async def test_metrics_are_prometheus_text(client: httpx.AsyncClient) -> None:
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    assert "python_info" in response.text


async def test_a_draining_process_still_answers_that_it_is_not_ready(
    health: Health, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stop = asyncio.Event()
    serving = asyncio.create_task(serve_health(health, "127.0.0.1", 0, stop))
    try:
        [record] = await eventually(lambda: [r for r in caplog.records if r.message == "health server listens"])
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{vars(record)['port']}") as client:
            assert (await client.get("/readyz")).status_code == 200
            stop.set()
            await eventually(lambda: not health.ready)
            response = await client.get("/readyz?verbose")
            assert response.status_code == 503
            assert response.json()["checks"] == {"drain": "the process is stopping"}
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
