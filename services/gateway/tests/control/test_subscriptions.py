"""Webhooks: a real receiver gets every event of its subscription, in order, signed, whatever goes down in between."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from model_engine_chassis.history import History
from model_engine_chassis.history_writer import HistoryWriter
from model_engine_chassis.leases import LeaseStore
from model_engine_chassis.outbound import OutboundClient
from model_engine_chassis.standard_webhooks import new_secret
from model_engine_contracts.events import BundleCreated, ScalingDecided, SubscriptionDeleted
from model_engine_gateway.clock import now
from model_engine_gateway.events import history_event
from model_engine_gateway.webhooks import subscription as rules
from model_engine_gateway.webhooks.deliverer import Deliverer
from model_engine_gateway.webhooks.repository import SubscriptionRepository
from model_engine_gateway.webhooks.sender import Sender
from model_engine_gateway.webhooks.subscription import Subscription
from model_engine_local.testing import eventually

LOOPBACK = [ip_network("127.0.0.0/8")]
SCALED = "modelengine.endpoint.scaled.v1"


@dataclass
class Receiver:
    """An HTTP server that verifies what it gets; `status` is its answer, null: it never answers."""

    status: int | None = 200
    port: int = 0
    secret: str = ""
    got: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    refused: int = 0
    unanswered: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def scaled_to(self) -> list[int]:
        """What the scaling events said, each once, in order of arrival."""
        return list(dict.fromkeys(event["data"]["to_workers"] for event in self.got if event["type"] == SCALED))

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head)}
            body = await reader.readexactly(int(headers["content-length"]))
            if self.status is None:
                self.unanswered += 1
                await reader.read()
                return
            if self.status == 200:
                self.got.append(Webhook(self.secret).verify(body, headers) if self.secret else json.loads(body))
                self.ids.append(headers["webhook-id"])
                assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
            else:
                self.refused += 1
            writer.write(f"HTTP/1.1 {self.status} X\r\ncontent-length: 0\r\n\r\n".encode())
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        """Listen for as long as the block lasts, always at the same port."""
        server = await asyncio.start_server(self.handle, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "RETRY_CAP_SECONDS", 0.3)


@pytest.fixture
async def platform(start: Callable[..., Awaitable[Any]]) -> Any:
    return await start(allowed_callback_networks=LOOPBACK)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    one = Receiver()
    async with one.up():
        yield one


async def _subscribe(client: httpx.AsyncClient, receiver: Receiver, **more: Any) -> dict[str, Any]:
    answer = await client.post("/v1/event-subscriptions", json={"url": receiver.url, **more})
    assert answer.status_code == 200, answer.text
    receiver.secret = answer.json()["secret"]
    return dict(answer.json())


async def _say(platform: Any, endpoint_id: str, *workers: int) -> None:
    for to in workers:
        await platform.say(
            ScalingDecided(endpoint_id=endpoint_id, epoch=1, from_workers=1, to_workers=to, reason="busy", inputs={})
        )


async def _got(receiver: Receiver, count: int) -> list[int]:
    await eventually(lambda: len(receiver.scaled_to) >= count, timeout=20)
    return receiver.scaled_to


async def _read(client: httpx.AsyncClient, subscription: dict[str, Any]) -> dict[str, Any]:
    return dict((await client.get(f"/v1/event-subscriptions/{subscription['id']}")).json())


async def _order_in_history(client: httpx.AsyncClient) -> list[int]:
    kept = await client.get("/v1/events", params={"follow": "false", "type": SCALED}, headers={"last-event-id": "0"})
    events = [json.loads(line[6:]) for line in kept.text.splitlines() if line.startswith("data: ")]
    return [event["data"]["to_workers"] for event in events]


async def test_a_subscription_is_made_read_and_deleted(
    client: httpx.AsyncClient, stranger: httpx.AsyncClient, receiver: Receiver
) -> None:
    created = await _subscribe(client, receiver, types=[SCALED])
    assert created.pop("secret").startswith("whsec_")
    assert created["status"] == "ACTIVE"
    path = f"/v1/event-subscriptions/{created['id']}"
    assert (await client.get(path)).json() == created
    assert (await client.get("/v1/event-subscriptions")).json() == {"event_subscriptions": [created]}
    assert (await stranger.get("/v1/event-subscriptions")).json() == {"event_subscriptions": []}

    for method, tail in (("GET", ""), ("DELETE", ""), ("POST", "/test"), ("GET", "/deliveries")):
        foreign = await stranger.request(method, path + tail)
        missing = await stranger.request(method, "/v1/event-subscriptions/sub_0" + tail)
        assert foreign.status_code == missing.status_code == 404
        assert foreign.text == missing.text.replace("sub_0", created["id"])
        assert foreign.json()["code"] == "subscription_not_found"

    assert (await client.delete(path)).json() == {"deleted": True}
    assert (await client.get(path)).status_code == 404
    assert (await client.delete(path)).status_code == 404


async def test_bad_subscriptions_are_refused_and_say_why(
    client: httpx.AsyncClient, stranger: httpx.AsyncClient, endpoint_id: str, receiver: Receiver
) -> None:
    bad = [
        ({"url": "http://10.0.0.1/"}, 400, "url: The host 10.0.0.1 has the address 10.0.0.1, which is not public."),
        ({"url": "ftp://x/"}, 400, "url: Use an address of http or https"),
        ({"url": "http://\ud800/"}, 422, "string_unicode"),
        ({"url": receiver.url, "types": ["modelengine.nope.v1"]}, 400, "types: 'modelengine.nope.v1' is not a type"),
        ({"url": receiver.url, "types": ["modelengine.endpoint.observed.v1"]}, 400, "is not a type of event"),
        ({"url": receiver.url, "types": []}, 422, "too_short"),
        ({"url": receiver.url, "after": -1}, 422, "greater_than_equal"),
        ({"url": receiver.url, "endpoint_id": "end_0"}, 404, ""),
    ]
    for body, status, text in bad:
        refused = await client.post("/v1/event-subscriptions", content=json.dumps(body))
        assert (refused.status_code, text in refused.text) == (status, True), refused.text
    foreign = await stranger.post("/v1/event-subscriptions", json={"url": receiver.url, "endpoint_id": endpoint_id})
    assert foreign.status_code == 404


async def test_events_arrive_signed_in_order_and_only_those_asked_for(
    client: httpx.AsyncClient, platform: Any, endpoint_id: str
) -> None:
    scaled, everything, elsewhere = Receiver(), Receiver(), Receiver()
    async with scaled.up(), everything.up(), elsewhere.up():
        await _subscribe(client, scaled, types=[SCALED], endpoint_id=endpoint_id)
        await _subscribe(client, everything, after=0)
        async with platform.client(await platform.new_key("eve")) as eve:
            await _subscribe(eve, elsewhere, after=0)
        await _say(platform, endpoint_id, *range(20))
        await _got(scaled, 20)
        await _got(everything, 20)
    assert scaled.scaled_to == await _order_in_history(client)
    assert {event["type"] for event in scaled.got} == {SCALED}
    positions = [event["position"] for event in everything.got]
    assert positions == sorted(set(positions))
    assert {"modelengine.endpoint.requested.v1", "modelengine.subscription.created.v1"} <= {
        event["type"] for event in everything.got
    }
    assert {event["owner"] for event in elsewhere.got} == {"eve"}
    assert scaled.ids == [event["id"] for event in scaled.got]


async def test_a_receiver_that_was_down_gets_everything_and_holds_up_nobody(
    client: httpx.AsyncClient, platform: Any, endpoint_id: str
) -> None:
    down, failing, silent, healthy = Receiver(), Receiver(status=503), Receiver(status=None), Receiver()
    async with failing.up(), silent.up(), healthy.up():
        async with down.up():
            gone = await _subscribe(client, down, types=[SCALED])
            ill = await _subscribe(client, failing, types=[SCALED])
            await _subscribe(client, silent, types=[SCALED])
            await _subscribe(client, healthy, types=[SCALED])
            await _say(platform, endpoint_id, 1)
            await _got(down, 1)
        await _say(platform, endpoint_id, *range(2, 10))
        await _got(healthy, 9)
        await eventually(lambda: failing.refused >= 2)
        state = await _read(client, ill)
        assert state["attempts"] >= 1
        assert state["failing_since"]
        log = (await client.get(f"/v1/event-subscriptions/{ill['id']}/deliveries", params={"limit": 1})).json()
        assert [(entry["status_code"], entry["error"]) for entry in log["deliveries"]] == [
            (503, "The receiver answered 503.")
        ]
        await eventually(lambda: _failed_to_connect(client, gone))
        failing.status = 200
        async with down.up():
            await _got(down, 9)
            await _got(failing, 9)
        history = await _order_in_history(client)
        assert down.scaled_to == failing.scaled_to == healthy.scaled_to == history
        state = await eventually(lambda: _settled(client, ill))
        assert (state["attempts"], state["next_attempt_at"]) == (0, None)


async def _failed_to_connect(client: httpx.AsyncClient, subscription: dict[str, Any]) -> bool:
    log = (await client.get(f"/v1/event-subscriptions/{subscription['id']}/deliveries")).json()["deliveries"]
    return not log[0]["delivered"] and "127.0.0.1 could not be called" in log[0]["error"]


async def _settled(client: httpx.AsyncClient, subscription: dict[str, Any]) -> dict[str, Any]:
    state = await _read(client, subscription)
    return state if state["failing_since"] is None else {}


async def test_a_receiver_that_fails_for_too_long_is_disabled_and_can_go_on_elsewhere(
    start: Callable[..., Awaitable[Any]], bundle_body: dict[str, Any]
) -> None:
    platform = await start(allowed_callback_networks=LOOPBACK, webhook_retry_seconds=0.2)
    receiver, witness = Receiver(status=500), Receiver()
    async with receiver.up(), witness.up(), platform.client(await platform.new_key("ada")) as client:
        created = await _subscribe(client, receiver, types=["modelengine.bundle.created.v1"])
        await _subscribe(client, witness, types=["modelengine.subscription.disabled.v1"])
        assert (await client.post("/v2/model-bundles", json=bundle_body)).status_code == 200
        await eventually(lambda: witness.got)
        assert witness.got[0]["data"]["subscription_id"] == created["id"]
        state = await _read(client, created)
        assert state["status"] == "DISABLED"
        assert state["disabled_reason"].endswith("The receiver answered 500.")

        receiver.status = 200
        successor = await _subscribe(
            client, receiver, types=["modelengine.bundle.created.v1"], after=witness.got[0]["data"]["position"]
        )
        await eventually(lambda: receiver.got)
        assert successor["position"] == state["position"]


async def test_a_receiver_that_is_gone_is_disabled_at_once(
    client: httpx.AsyncClient, receiver: Receiver, platform: Any, endpoint_id: str
) -> None:
    receiver.status = 410
    created = await _subscribe(client, receiver, types=[SCALED])
    await _say(platform, endpoint_id, 1)
    state = await eventually(lambda: _disabled(client, created))
    assert state["disabled_reason"] == "The receiver answered 410 Gone."
    assert receiver.refused == 1


async def _disabled(client: httpx.AsyncClient, subscription: dict[str, Any]) -> dict[str, Any]:
    state = await _read(client, subscription)
    return state if state["status"] == "DISABLED" else {}


async def test_a_test_delivery_says_what_became_of_it(client: httpx.AsyncClient, receiver: Receiver) -> None:
    created = await _subscribe(client, receiver, types=[SCALED])
    path = f"/v1/event-subscriptions/{created['id']}"
    tested = (await client.post(f"{path}/test")).json()
    assert (tested["delivered"], tested["status_code"], tested["position"]) == (True, 200, None)
    assert [(event["type"], event["data"]) for event in receiver.got] == [
        ("modelengine.subscription.tested.v1", {"subscription_id": created["id"]})
    ]
    receiver.status = 404
    tested = (await client.post(f"{path}/test")).json()
    assert (tested["delivered"], tested["error"]) == (False, "The receiver answered 404.")
    log = (await client.get(f"{path}/deliveries")).json()["deliveries"]
    assert [entry["delivered"] for entry in log] == [False, True]
    assert log[0] == tested
    assert (await client.get(f"{path}/deliveries", params={"limit": 101})).status_code == 422
    assert (await _read(client, created))["position"] == created["position"]


async def test_an_address_that_is_not_allowed_any_more_is_refused_at_delivery(
    client: httpx.AsyncClient, platform: Any, receiver: Receiver, endpoint_id: str
) -> None:
    created = await _subscribe(client, receiver, types=[SCALED])
    await platform.database.event_subscriptions.update_one(
        {"_id": created["id"]}, {"$set": {"url": f"http://[::1]:{receiver.port}/"}}
    )
    await _say(platform, endpoint_id, 1)
    path = f"/v1/event-subscriptions/{created['id']}"
    refused = await eventually(lambda: _first_delivery(client, path))
    assert "has the address ::1, which is not public" in refused["error"]
    assert "ME_ALLOWED_CALLBACK_NETWORKS" in (await client.post(f"{path}/test")).json()["error"]
    assert receiver.got == []


async def _first_delivery(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    log = (await client.get(f"{path}/deliveries")).json()["deliveries"]
    return dict(log[-1]) if log else {}


async def test_the_next_deliverer_goes_on_where_the_last_one_ended(mongo_db: Any, receiver: Receiver) -> None:
    subscriptions = SubscriptionRepository(mongo_db)
    writer = await HistoryWriter.take_over(mongo_db, 1)
    receiver.secret = new_secret()
    subscription = Subscription(
        id="sub_1",
        owner="ada",
        url=receiver.url,
        types=None,
        endpoint_id=None,
        secret=receiver.secret,
        created_by="ada",
        created_at=now(),
        position=0,
    )
    await subscriptions.insert(subscription, history_event(SubscriptionDeleted(subscription_id="x"), "ada"))
    events = [
        history_event(
            BundleCreated(bundle_id=f"bun_{number}", name="bundle", flavor="zip_artifact", created_by="ada"), "ada"
        )
        for number in range(6)
    ]

    async with _delivering(mongo_db, subscriptions, "first"):
        await writer.append(events[:2])
        await eventually(lambda: len(receiver.got) == 2)
        receiver.status = None
        await writer.append(events[2:4])
        await eventually(lambda: receiver.unanswered == 1)
    receiver.status = 200
    async with _delivering(mongo_db, subscriptions, "second"):
        await writer.append(events[4:])
        await eventually(lambda: len(receiver.got) == 6)
        found = await eventually(lambda: _at(subscriptions, receiver.got[-1]["position"]))
    assert receiver.ids == [event.id for event in events]
    assert found.attempts == 0


async def _at(subscriptions: SubscriptionRepository, position: int) -> Subscription | None:
    found = await subscriptions.find_active("sub_1")
    return found if found and found.position == position else None


@asynccontextmanager
async def _delivering(database: Any, subscriptions: SubscriptionRepository, holder: str) -> AsyncIterator[None]:
    deliverer = Deliverer(
        subscriptions,
        History(database),
        Sender(OutboundClient(LOOPBACK)),
        store=LeaseStore(database),
        holder=holder,
        retry_seconds=60,
    )
    stop = asyncio.Event()
    running = asyncio.create_task(deliverer.run(stop))
    yield
    stop.set()
    await running
