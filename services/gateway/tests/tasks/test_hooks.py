"""Hooks follow the results of tasks and sync calls: each at least once, signed, bounded, apart from one another."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from model_engine_contracts.endpoint_states import EndpointType
from model_engine_contracts.events import load_event
from model_engine_gateway.clock import now
from model_engine_gateway.hooks import runner as runner_module
from model_engine_gateway.hooks.after_calls import CallHooks
from model_engine_gateway.hooks.bodies import callback_body
from model_engine_gateway.hooks.plan import endpoint_hooks, plan_hooks
from model_engine_gateway.repositories.loose_events import LOOSE_EVENTS, LooseEvents
from model_engine_gateway.tasks.hook_queue import TAKEN, HookQueue
from model_engine_gateway.tasks.hooks import TaskHooks
from model_engine_gateway.tasks.repository import TASKS
from model_engine_local.testing import eventually

from .conftest import END, Bench, endpoint_document
from .receiver import Receiver, receiving
from .test_results import all_read, failed, report, succeeded

BASIC = {"kind": "basic", "username": "u", "password": "p"}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "PAUSES", (0.01, 0.02))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@asynccontextmanager
async def running_hooks(bench: Bench) -> AsyncIterator[None]:
    stop = asyncio.Event()
    hooks: TaskHooks = bench.service._hooks
    running = asyncio.create_task(hooks.run(stop))
    yield
    stop.set()
    hooks.poke()
    await running


async def end(bench: Bench, *reports: Any) -> None:
    async with bench.results():
        await report(bench, *reports)
        await all_read(bench)


async def submitted(bench: Bench, owner: str = "ada", **fields: Any) -> str:
    answer = await bench.post({"args": {"x": 1}, **fields}, headers={"authorization": f"Bearer {owner}"})
    task_id: str = answer.json()["task_id"]
    return task_id


async def no_hooks_left(bench: Bench) -> bool:
    return bool(await bench.database[TASKS].count_documents({"hooks_pending": True}) == 0)


def basic(headers: dict[str, str]) -> str:
    return base64.b64decode(headers["authorization"].removeprefix("Basic ")).decode()


@pytest.mark.parametrize(
    ("answer", "status_code", "body"),
    [
        (b'{"result":"{\\"y\\": 1}"}', 200, b'{"result":"{\\"y\\": 1}","status_code":200,"task_id":"t"}'),
        (b" {} ", None, b'{"task_id":"t"}'),
        (b"[1]", None, b'{"result":[1],"task_id":"t"}'),
        (b"", None, b'{"result":null,"task_id":"t"}'),
    ],
)
def test_a_callback_is_the_answer_with_the_task_s_id(answer: bytes, status_code: int | None, body: bytes) -> None:
    assert callback_body(answer, "t", status_code) == body


async def test_results_and_failures_are_told_and_signed(bench: Bench, receiver: Receiver) -> None:
    await bench.put_endpoint(post_inference_hooks=("Callback",), default_callback_url=receiver.url)
    secret = await bench.secrets.renew("ada")
    good, bad = await submitted(bench), await submitted(bench, callback_auth=BASIC)
    async with running_hooks(bench):
        await end(bench, succeeded(good), failed(bad))
        await eventually(lambda: no_hooks_left(bench))
    told = {json.loads(body)["task_id"]: (headers, json.loads(body)) for headers, body in receiver.requests}
    assert told[good][1] == {"result": "5", "status_code": 200, "task_id": good}
    assert told[bad][1] == {
        "status": "FAILURE",
        "result": "boom",
        "traceback": "Traceback: boom",
        "status_code": None,
        "task_id": bad,
    }
    assert (basic(told[good][0]), basic(told[bad][0])) == ("ada:", "u:p")
    for headers, body in receiver.requests:
        assert Webhook(secret).verify(body.decode(), headers)
    assert [name for name in await bench.document(good) if name.startswith("hooks")] == []


async def test_three_attempts_and_then_an_event(bench: Bench, receiver: Receiver) -> None:
    await bench.put_endpoint(post_inference_hooks=("callback", "billing"), billing_tags_json='{"product":"x"}')
    late = await submitted(bench, callback_url=receiver.url)
    receiver.statuses = [500, 302]
    async with running_hooks(bench):
        await end(bench, succeeded(late))
        await eventually(lambda: no_hooks_left(bench))
        assert len(receiver.requests) == 3
        assert len({headers.get("webhook-id") for headers, _ in receiver.requests}) == 1
        assert "outbox" not in await bench.document(late)
        never = await submitted(bench, callback_url=receiver.url)
        private = await submitted(bench, callback_url="http://10.0.0.1/secret-path")
        receiver.statuses = [500, 500, 503]
        await end(bench, succeeded(never), succeeded(private))
        await eventually(lambda: no_hooks_left(bench))
    assert len(receiver.requests) == 6
    [event] = (await bench.document(never))["outbox"]
    assert event["type"] == "modelengine.task.callback-failed.v1"
    assert (event["data"]["attempts"], event["data"]["error"]) == (3, "The receiver answered 503.")
    [refused] = (await bench.document(private))["outbox"]
    assert refused["data"]["attempts"] == 1
    assert "not public" in refused["data"]["error"]
    assert "secret-path" not in refused["data"]["error"]
    billed = [(kind, record["BILLING_TAGS"]) for kind, record in bench.records.seen]
    assert billed == [("billing", {"product": "x"})] * 3


async def test_a_gateway_that_dies_is_taken_over_from(bench: Bench, receiver: Receiver) -> None:
    await bench.put_endpoint(post_inference_hooks=("callback",))
    task_id = await submitted(bench, callback_url=receiver.url)
    await end(bench, succeeded(task_id))
    queue = HookQueue(bench.database)
    taken = await queue.take(now(), ())
    assert taken is not None
    assert await queue.take(now(), ()) is None
    await bench.database[TASKS].update_one({"_id": task_id}, {"$set": {"hooks_at": now() - TAKEN}})
    assert await queue.take(now(), ["ada"]) is None
    async with running_hooks(bench):
        await eventually(lambda: no_hooks_left(bench))
    assert len(receiver.requests) == 1
    await queue.retry(taken, 1, now() + timedelta(seconds=1))
    assert "hooks_at" not in await bench.document(task_id)


async def test_other_ends_have_no_hooks_and_a_replay_has_them_again(bench: Bench, receiver: Receiver) -> None:
    await bench.put_endpoint(post_inference_hooks=("callback",), default_callback_url=receiver.url)
    cancelled, replayed = await submitted(bench), await submitted(bench)
    await bench.service.managed.cancel(bench.caller(), cancelled)
    async with running_hooks(bench):
        await end(bench, failed(replayed))
        await eventually(lambda: no_hooks_left(bench))
        await bench.service.managed.replay(bench.caller(), replayed)
        await end(bench, succeeded(replayed, attempt=2))
        await eventually(lambda: no_hooks_left(bench))
    assert [json.loads(body).get("status") for _, body in receiver.requests] == ["FAILURE", None]


async def test_requests_and_answers_are_recorded_without_credentials(bench: Bench) -> None:
    await bench.put_endpoint(post_inference_hooks=("logging", "callback"), labels={"team": "t"})
    task_id = await submitted(bench, callback_auth=BASIC | {"password": "hidden"})
    async with running_hooks(bench):
        await end(bench, succeeded(task_id))
        await eventually(lambda: no_hooks_left(bench))
    [(kind, record)] = bench.records.seen
    assert kind == "logging"
    assert "hidden" not in json.dumps(record)
    assert json.loads(record.pop("REQUEST_BODY"))["args"] == {"x": 1}
    assert len(record.pop("EMITTED_AT")) == len("2026-01-01T00:00:00")
    assert record == {
        "RESPONSE_BODY": {"result": "5", "status_code": 200, "task_id": task_id},
        "ENDPOINT_ID": END,
        "ENDPOINT_NAME": END,
        "ENDPOINT_TYPE": "async",
        "BUNDLE_ID": "bun_1",
        "LABELS": {"team": "t"},
    }


def test_credentials_of_an_endpoint_stay_with_its_owner() -> None:
    hooks = endpoint_hooks(
        endpoint_document(
            post_inference_hooks=("callback",),
            default_callback_url="http://own/",
            default_callback_auth_json=json.dumps(BASIC),
        )
    )
    assert hooks is not None

    def planned(caller: str, url: str | None) -> tuple[str, str, str]:
        callback = plan_hooks(hooks, caller, b"{}", url, None).callback
        assert callback is not None
        return callback.url, getattr(callback.auth, "username", ""), callback.signer

    assert planned("ada", None) == ("http://own/", "u", "ada")
    assert planned("ada", "http://else/") == ("http://else/", "u", "ada")
    assert planned("bob", None) == ("http://own/", "u", "ada")
    assert planned("bob", "http://else/") == ("http://else/", "ada", "bob")


async def test_sync_calls_are_told_within_bounds(
    bench: Bench, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = endpoint_hooks(endpoint_document(endpoint_type=EndpointType.SYNC, post_inference_hooks=("callback",)))
    assert hooks is not None
    planned = plan_hooks(hooks, "ada", b"{}", receiver.url, None)
    calls = CallHooks(bench.runner, LooseEvents(bench.database).add)
    receiver.statuses = [500, 500, 500]
    calls.after(planned, b'{"result":"1"}')

    async def told() -> bool:
        return bool(await bench.database[LOOSE_EVENTS].count_documents({}))

    await eventually(told)
    assert [body for _, body in receiver.requests] == [b'{"result":"1","task_id":null}'] * 3
    found = await bench.database[LOOSE_EVENTS].find_one({})
    event = load_event(found["outbox"][0])
    assert (found["tombstone"], event.owner, event.data.task_id) == (True, "ada", None)
    monkeypatch.setattr("model_engine_gateway.hooks.after_calls.MAX_WAITING_OF_OWNER", 2)
    receiver.hold = asyncio.Event()
    for number in range(5):
        calls.after(planned, b"%d" % number)
    await eventually(lambda: len(receiver.requests) == 5)
    receiver.hold.set()
    await calls.close()
    assert sorted(body for _, body in receiver.requests[3:]) == [
        b'{"result":0,"task_id":null}',
        b'{"result":1,"task_id":null}',
    ]
