"""One real gateway for the whole table: in this process, on a port of its own, with real servers behind it.

A stand-in for builder, cache and worker makes endpoints READY (unless a row wants one that nobody has built yet) and
lets deleted ones go.
"""

import asyncio
import json
import threading
from concurrent.futures import Future
from typing import Any

from model_engine_chassis.asgi_server import Receive, Scope, Send, listen, serve_asgi
from model_engine_chassis.follow import follow_events
from model_engine_chassis.nats_connection import connect, disconnect
from model_engine_chassis.publish import publish_event
from model_engine_contracts.events import (
    EndpointDeletionRequested,
    EndpointObserved,
    EndpointReleased,
    EndpointRequested,
    Event,
    ObservedWorker,
    RolloutStarted,
    RolloutSucceeded,
    new_event,
)
from model_engine_contracts.subjects import history
from model_engine_gateway.app import Gateway, build
from model_engine_gateway.settings import GatewaySettings

ADMIN_TOKEN = "the-administrators-token"
UNBUILT, STUCK = "new-", "deleting-"
"""Endpoints with these beginnings of their names are never built, and never let go."""


class GatewayThread:
    """A gateway in a thread of its own, so that rows are plain blocking calls."""

    def __init__(self, nats_url: str, mongo_url: str, redis_url: str) -> None:
        settings = GatewaySettings(
            nats_url=nats_url,
            mongo_url=mongo_url,
            mongo_database="api_rules",
            redis_url=redis_url,
            port=0,
            admin_token=ADMIN_TOKEN,
            artifact_url_secret="the-secret-of-artifact-addresses",
            drain_seconds=1,
        )
        self._gateway = build(settings)
        self._started: Future[None] = Future()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="gateway")

    @property
    def url(self) -> str:
        """Where the REST API listens."""
        return f"http://127.0.0.1:{self._gateway.port}"

    def start(self) -> None:
        """Start and wait until it serves; raises what prevents it."""
        self._thread.start()
        self._started.result(30)

    def stop(self) -> None:
        """Stop and wait."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive(), "the gateway does not stop"

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            if not self._started.done():
                self._started.set_exception(error)
            raise
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._gateway.run(self._stop))
            stand_in = StandIn(self._gateway, self._stop)
            tasks.create_task(stand_in.run())
            await self._gateway.started.wait()
            await stand_in.following.wait()
            self._started.set_result(None)


class StandIn:
    """What follows the gateway's events and says what the other services would say."""

    def __init__(self, gateway: Gateway, stop: asyncio.Event) -> None:
        self._settings = gateway.settings
        self._stop = stop
        self.following = asyncio.Event()
        self._address = ""

    async def run(self) -> None:
        """Work until stopped."""
        nats = await connect(self._settings, "stand-in")
        self._js = nats.jetstream()
        listener = listen("127.0.0.1", 0)
        self._address = f"127.0.0.1:{listener.getsockname()[1]}"
        subjects = [history(aggregate="endpoint", verb=verb) for verb in ("requested", "deletion-requested")]
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(serve_asgi(worker, listener, self._stop, drain_seconds=1))
                tasks.create_task(
                    follow_events(
                        nats,
                        subjects=subjects,
                        handler=self._handle,
                        stop=self._stop,
                        started=self.following,
                        start="all",
                    )
                )
        finally:
            await disconnect(nats)

    async def _handle(self, event: Event[Any]) -> None:
        match event.data:
            case EndpointRequested(endpoint_id=endpoint_id, name=name) if not name.startswith(UNBUILT):
                seen = ObservedWorker(id=f"w-{endpoint_id}", revision="r", state="READY", address=self._address)
                rollout = {"endpoint_id": endpoint_id, "generation": 1, "revision": "r"}
                await self._say(RolloutStarted(**rollout))
                await self._say(
                    EndpointObserved(
                        endpoint_id=endpoint_id, epoch=1, counter=1, generation=1, replicas=1, workers=(seen,)
                    )
                )
                await self._say(RolloutSucceeded(**rollout))
            case EndpointDeletionRequested(endpoint_id=endpoint_id, name=name) if not name.startswith(STUCK):
                await self._say(EndpointReleased(endpoint_id=endpoint_id, generation=event.data.generation))

    async def _say(self, fact: Any) -> None:
        await publish_event(self._js, new_event(fact, source="stand-in"))


async def worker(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers as `args` say: with `status` and `body`, or with a stream of `events`."""
    pieces = bytearray()
    while True:
        message = await receive()
        pieces += message.get("body", b"")
        if not message.get("more_body"):
            break
    args = json.loads(bytes(pieces))["args"]
    events = args.get("events")
    kind = b"application/json" if events is None else b"text/event-stream"
    if events is None:
        body = json.dumps(args.get("body"), separators=(",", ":")).encode()
    else:
        body = "".join(f"data: {event}\r\n\r\n" for event in events).encode()
    headers = [(b"content-type", kind)]
    await send({"type": "http.response.start", "status": args.get("status", 200), "headers": headers})
    await send({"type": "http.response.body", "body": body})
