"""The history as server-sent events: replayed, followed, resumed, and never another owner's."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, MutableMapping
from typing import Any

import httpx
import pytest

from model_engine_contracts.events import ScalingDecided
from model_engine_gateway.control import live_streams
from model_engine_local.testing import eventually


async def _frames(answer: httpx.Response) -> AsyncIterator[dict[str, str]]:
    frame: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if not line:
            if frame:
                yield frame
            frame = {}
        else:
            name, _, value = line.partition(": ")
            frame[name] = value


def _scaled(endpoint_id: str, to: int) -> ScalingDecided:
    return ScalingDecided(endpoint_id=endpoint_id, epoch=1, from_workers=1, to_workers=to, reason="busy", inputs={})


async def test_a_reader_that_is_cut_again_and_again_misses_nothing(
    client: httpx.AsyncClient, platform: Any, endpoint_id: str
) -> None:
    count, position, seen = 40, "0", []
    saying = asyncio.create_task(_say_all(platform, endpoint_id, count))
    while len(seen) < count:
        headers = {"last-event-id": position}
        async with client.stream("GET", f"/v1/model-endpoints/{endpoint_id}/events", headers=headers) as answer:
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            taken = 0
            async for frame in _frames(answer):
                position = frame["id"]
                taken += 1
                if "endpoint.scaled" in frame["event"]:
                    seen.append(frame)
                if taken == 7 or len(seen) == count:
                    break
    await saying
    positions = [int(frame["id"]) for frame in seen]
    assert positions == sorted(set(positions))
    assert sorted(frame["data"].split('"to_workers":')[1].split(",")[0] for frame in seen) == sorted(
        str(number) for number in range(count)
    )


async def _say_all(platform: Any, endpoint_id: str, count: int) -> None:
    for number in range(count):
        await platform.say(_scaled(endpoint_id, number))


@pytest.fixture
async def settled(client: httpx.AsyncClient, endpoint_id: str) -> None:
    """Everything that the fixtures did is in the history."""

    async def is_told() -> bool:
        answer = await client.get("/v1/events", params={"follow": "false"})
        told = ("api-key.created", "bundle.created", "endpoint.requested")
        return all(verb in answer.text for verb in told) and answer.text.count("event: modelengine.audit.recorded") == 2

    await eventually(is_told)


@pytest.mark.usefixtures("settled")
async def test_without_a_position_only_what_happens_next_is_told(
    client: httpx.AsyncClient, stranger: httpx.AsyncClient, platform: Any, endpoint_id: str, bundle_body: dict[str, Any]
) -> None:
    query = {"type": "modelengine.endpoint.scaled.v1"}
    async with client.stream("GET", "/v1/events", params=query) as mine, stranger.stream("GET", "/v1/events") as theirs:
        await platform.say(_scaled(endpoint_id, 5))
        first = await anext(_frames(mine))
        assert first["event"] == "modelengine.endpoint.scaled.v1"

        await stranger.post("/v2/model-bundles", json=bundle_body)
        async for frame in _frames(theirs):
            assert endpoint_id not in frame["data"]
            if frame["event"] == "modelengine.bundle.created.v1":
                break


@pytest.mark.usefixtures("settled")
async def test_a_silent_stream_is_kept_alive(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_streams, "HEARTBEAT_SECONDS", 0.05)
    async with client.stream("GET", "/v1/events") as answer:
        lines = answer.aiter_lines()
        assert [await anext(lines), await anext(lines), await anext(lines)] == [": heartbeat", "", ": heartbeat"]


async def test_a_reader_that_takes_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_streams, "WRITE_SECONDS", 0.05)
    closed = asyncio.Event()
    never = asyncio.Event()

    async def pieces() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x"
        finally:
            closed.set()

    async def receive() -> MutableMapping[str, Any]:
        await never.wait()
        return {}

    async def send(message: MutableMapping[str, Any]) -> None:
        await never.wait()

    streams, cut = live_streams.LiveStreams(1), asyncio.Event()
    await asyncio.wait_for(streams.send(pieces(), None, receive, send, cut.set), 5)
    assert closed.is_set()
    assert cut.is_set()
    streams.admit()


async def test_streams_are_bounded(start: Any) -> None:
    platform = await start(max_event_streams=1)
    async with platform.client(await platform.new_key("ada")) as client:
        async with client.stream("GET", "/v1/events") as first:
            assert first.status_code == 200

            async def refused() -> bool:
                answer = await client.get("/v1/events")
                return answer.status_code == 429 and answer.headers["retry-after"] == "5"

            await eventually(refused)

        async def free() -> bool:
            async with client.stream("GET", "/v1/events") as again:
                return again.status_code == 200

        await eventually(free)


async def test_a_position_is_a_number(client: httpx.AsyncClient) -> None:
    for position in ("x", "-1"):
        answer = await client.get("/v1/events", headers={"last-event-id": position})
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["header", "last-event-id"]
