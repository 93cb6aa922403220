"""Logs through the runtime, over NATS."""

import asyncio

import pytest
from nats.aio.msg import Msg

import model_engine_builder.log_server as module
from model_engine_builder.domain.rollout import RolloutPhase
from model_engine_builder.log_server import LogServer
from model_engine_builder.repository import RolloutRepository
from model_engine_contracts.logs import END_HEADER, ERROR_HEADER, LogRequest
from model_engine_contracts.subjects import logs_subject
from model_engine_local.testing import eventually

from .conftest import Bench, spec_of


async def read(bench: Bench, request: LogRequest) -> tuple[str, str | None]:
    """The text of a log and the error at its end."""
    inbox = bench.nats.new_inbox()
    subscription = await bench.nats.subscribe(inbox)
    await bench.nats.publish(logs_subject(request.endpoint_id), request.model_dump_json().encode(), reply=inbox)
    text = ""
    while True:
        frame: Msg = await subscription.next_msg(timeout=10)
        headers = frame.headers or {}
        text += frame.data.decode()
        if END_HEADER in headers:
            return text, headers.get(ERROR_HEADER)
        if headers.get("Status") == "503":
            return text, "no builder answers"


async def test_a_build_log_and_what_has_none(bench: Bench) -> None:
    bench.start_builder()
    endpoint = await bench.create(spec_of({}, ("sim-build-seconds=0.05",)))
    await bench.until(endpoint, RolloutPhase.SUCCEEDED)
    text, error = await read(bench, LogRequest(endpoint_id=endpoint, source="build"))
    assert "simulated build" in text
    assert error is None
    assert await read(bench, LogRequest(endpoint_id=endpoint, source="worker")) == ("", None)
    text, error = await read(bench, LogRequest(endpoint_id="end_unknown", source="build"))
    assert (text, error) == ("", "there is no such log (yet)")


async def test_a_followed_log_ends_with_its_reader(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEPALIVE_SECONDS", 0.05)
    bench.start_builder()
    endpoint = await bench.create(spec_of({}))
    await bench.until(endpoint, RolloutPhase.SUCCEEDED)
    server = LogServer(bench.nats, bench.runtime, RolloutRepository(bench.database), max_streams=1, max_seconds=60)
    inbox = bench.nats.new_inbox()
    subscription = await bench.nats.subscribe(inbox)
    request = LogRequest(endpoint_id=endpoint, source="worker", follow=True)
    serving = asyncio.create_task(server.serve(request.model_dump_json().encode(), inbox))
    await subscription.next_msg(timeout=5)
    assert not serving.done()
    await subscription.unsubscribe()
    async with asyncio.timeout(10):
        await serving


async def test_there_is_a_bound(bench: Bench) -> None:
    stop = asyncio.Event()
    server = LogServer(bench.nats, bench.runtime, RolloutRepository(bench.database), max_streams=0, max_seconds=60)
    serving = asyncio.create_task(server.run(stop))
    request = LogRequest(endpoint_id="end_1", source="build")

    async def is_refused() -> bool:
        _, error = await read(bench, request)
        return error == "0 logs are being read already; try again"

    await eventually(is_refused)
    stop.set()
    await serving
