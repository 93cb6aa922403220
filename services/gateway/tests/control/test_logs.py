"""Logs come from a builder over NATS, in pieces, and end however the builder ends."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from nats.aio.msg import Msg

from model_engine_contracts.logs import END_HEADER, ERROR_HEADER, LOG_QUEUE_GROUP, LogRequest
from model_engine_contracts.subjects import logs_subject
from model_engine_gateway import endpoint_logs


async def _builder(platform: Any, endpoint_id: str, answer: Callable[[Msg, LogRequest], Awaitable[None]]) -> None:
    async def handle(message: Msg) -> None:
        await answer(message, LogRequest.model_validate_json(message.data))

    await platform.nats.subscribe(logs_subject(endpoint_id), queue=LOG_QUEUE_GROUP, cb=handle)
    await platform.nats.flush()


async def test_a_log_is_streamed_as_text(client: httpx.AsyncClient, platform: Any, endpoint_id: str) -> None:
    asked: list[LogRequest] = []

    async def answer(message: Msg, request: LogRequest) -> None:
        asked.append(request)
        for text in ("first\n", "", "zweite Zeile: ä\n"):
            await platform.nats.publish(message.reply, text.encode())
        await platform.nats.publish(message.reply, b"last", headers={END_HEADER: "true"})

    await _builder(platform, endpoint_id, answer)
    path = f"/v1/model-endpoints/{endpoint_id}/logs"
    read = await client.get(path, params={"source": "build"})

    assert read.text == "first\nzweite Zeile: ä\nlast"
    assert read.headers["content-type"] == "text/plain; charset=utf-8"
    assert asked == [LogRequest(endpoint_id=endpoint_id, source="build")]
    assert (await client.get(path, params={"source": "nope"})).status_code == 422


async def test_a_followed_log_arrives_as_it_is_written(
    client: httpx.AsyncClient, platform: Any, endpoint_id: str
) -> None:
    more = asyncio.Event()

    async def answer(message: Msg, request: LogRequest) -> None:
        assert request.follow
        await platform.nats.publish(message.reply, b"one")
        await more.wait()
        await platform.nats.publish(message.reply, b"two", headers={END_HEADER: "true"})

    await _builder(platform, endpoint_id, answer)
    async with client.stream("GET", f"/v1/model-endpoints/{endpoint_id}/logs", params={"follow": "true"}) as read:
        pieces = read.aiter_text()
        assert await anext(pieces) == "one"
        more.set()
        assert await anext(pieces) == "two"


async def test_errors_of_the_builder_are_told(client: httpx.AsyncClient, platform: Any, endpoint_id: str) -> None:
    path = f"/v1/model-endpoints/{endpoint_id}/logs"
    nobody = await client.get(path)
    assert (nobody.status_code, nobody.json()["code"]) == (503, "log_unavailable")

    async def answer(message: Msg, request: LogRequest) -> None:
        if request.source == "worker":
            await platform.nats.publish(message.reply, b"some")
        end = {END_HEADER: "true", ERROR_HEADER: "no such worker"}
        await platform.nats.publish(message.reply, b"", headers=end)

    await _builder(platform, endpoint_id, answer)
    at_once = await client.get(path, params={"source": "build"})
    assert (at_once.status_code, at_once.json()["detail"]) == (
        503,
        "The log cannot be read: no such worker. Please retry.",
    )
    later = await client.get(path)
    assert later.text == "some\n[the log cannot be read further: no such worker]\n"


async def test_a_builder_that_falls_silent_is_not_waited_for(
    client: httpx.AsyncClient, platform: Any, endpoint_id: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr(endpoint_logs, "SILENCE_SECONDS", 0.1)

    async def answer(message: Msg, request: LogRequest) -> None:
        await platform.nats.publish(message.reply, b"some")

    await _builder(platform, endpoint_id, answer)
    read = await client.get(f"/v1/model-endpoints/{endpoint_id}/logs", params={"follow": "true"})
    assert read.text == "some\n[the log ends here: the builder that read it does not answer any more]\n"
