"""Serving ASGI apps: told to stop, it lets requests finish, but not for ever."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from model_engine_chassis.asgi_server import listen, serve_asgi
from model_engine_local.testing import eventually


class SlowApp:
    """Answers when `release` is set."""

    def __init__(self) -> None:
        self.started, self.release, self.cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.started.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"done"})


@pytest.fixture
def app() -> SlowApp:
    return SlowApp()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=20) as opened:
        yield opened


@pytest.fixture
async def serve(app: SlowApp) -> AsyncIterator[Callable[..., tuple[str, asyncio.Event, asyncio.Task[None]]]]:
    tasks: list[asyncio.Task[None]] = []

    def start(**options: Any) -> tuple[str, asyncio.Event, asyncio.Task[None]]:
        listener, stop = listen("127.0.0.1", 0), asyncio.Event()
        tasks.append(asyncio.create_task(serve_asgi(app, listener, stop, **options)))
        return f"http://127.0.0.1:{listener.getsockname()[1]}", stop, tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_running_request_is_finished_after_stop(app: SlowApp, client: httpx.AsyncClient, serve: Any) -> None:
    url, stop, serving = serve(drain_seconds=20)
    request = asyncio.create_task(client.get(url))
    await app.started.wait()
    stop.set()
    await eventually(lambda: refuses(url))
    assert not serving.done()
    app.release.set()
    response = await request
    assert (response.status_code, response.text) == (200, "done")
    await asyncio.wait_for(serving, 10)


async def test_a_request_that_outlasts_the_drain_is_cancelled(
    app: SlowApp, client: httpx.AsyncClient, serve: Any
) -> None:
    url, stop, serving = serve(drain_seconds=1)
    request = asyncio.create_task(client.get(url))
    await app.started.wait()
    stop.set()
    await asyncio.wait_for(serving, 10)
    await asyncio.wait_for(app.cancelled.wait(), 5)
    with pytest.raises(httpx.HTTPError):
        (await request).raise_for_status()


async def test_a_cancelled_server_leaves_no_request_and_no_port(
    app: SlowApp, client: httpx.AsyncClient, serve: Any
) -> None:
    url, _, serving = serve(drain_seconds=600)
    request = asyncio.create_task(client.get(url))
    await app.started.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(serving, 10)
    await asyncio.wait_for(app.cancelled.wait(), 5)
    assert await refuses(url)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)


async def test_two_listeners_share_a_port_only_when_asked_to() -> None:
    first = listen("127.0.0.1", 0, reuse_port=True)
    port = first.getsockname()[1]
    with pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", port)
    listen("127.0.0.1", port, reuse_port=True).close()
    first.close()


async def refuses(url: str) -> bool:
    """Whether nobody listens there."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
    except ConnectionRefusedError:
        return True
    writer.close()
    return False
