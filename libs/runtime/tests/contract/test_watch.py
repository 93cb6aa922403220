"""The watch of the agent: what is missed is made good, and silence is said."""

import asyncio

import pytest

from model_engine_local.testing import eventually
from model_engine_runtime import agent_client
from model_engine_runtime.errors import RuntimeUnavailable
from model_engine_runtime.protocol import Gone
from model_engine_runtime.wire import Numbered, encode, subject

pytestmark = pytest.mark.parametrize("driver", ["simulated"], indirect=True)


@pytest.fixture(autouse=True)
def _frequent_heartbeats(monkeypatch):
    monkeypatch.setattr("model_engine_runtime.agent.feed.HEARTBEAT_SECONDS", 0.5)


async def number_of(driver):
    """The agent's incarnation and the number of its last change."""
    heard = asyncio.get_running_loop().create_future()

    async def hear(message):
        if not heard.done():
            heard.set_result(agent_client.decode(Numbered, message.data))

    subscription = await driver.nats.subscribe(subject("test", "watch"), cb=hear)
    numbered = await asyncio.wait_for(heard, 5)
    await subscription.unsubscribe()
    return numbered


async def test_a_gap_in_the_numbers_brings_a_snapshot(driver, observer, prepared):
    await driver.runtime.apply(driver.want(await prepared(driver)))
    await observer.ready()
    heard = await number_of(driver)
    assert len(observer.snapshots) == 1
    lost = Numbered(heard.incarnation, heard.number + 2, gone=Gone("end_a"))
    await driver.nats.publish(subject("test", "watch"), encode(lost))
    await eventually(lambda: len(observer.snapshots) == 2)
    assert [state.endpoint_id for state in observer.snapshots[1].sets] == ["end_a"]
    assert observer.gone == []


async def test_a_heartbeat_with_a_higher_number_brings_a_snapshot(driver, observer):
    heard = await number_of(driver)
    await driver.nats.publish(subject("test", "watch"), encode(Numbered(heard.incarnation, heard.number + 1)))
    await eventually(lambda: len(observer.snapshots) == 2)


async def test_what_is_known_already_is_not_said_again(driver, observer):
    heard = await number_of(driver)
    stale = Numbered(heard.incarnation, heard.number, gone=Gone("end_a"))
    await driver.nats.publish(subject("test", "watch"), encode(stale))
    await driver.runtime.release("after-it")
    await eventually(lambda: observer.gone)
    assert observer.gone == ["after-it"]
    assert len(observer.snapshots) == 1


async def test_a_new_agent_brings_a_snapshot(driver, observer):
    await driver.restart()
    await eventually(lambda: len(observer.snapshots) == 2)


async def test_silence_is_an_error(driver, monkeypatch):
    monkeypatch.setattr(agent_client, "SILENCE_SECONDS", 0.2)
    with pytest.raises(RuntimeUnavailable, match="silent"):
        assert [item async for item in driver.runtime.watch()] == "never reached"


async def test_no_agent_is_an_error_at_once(driver):
    nobody = agent_client.AgentRuntime(driver.nats, "nobody")
    with pytest.raises(RuntimeUnavailable, match="nobody"):
        await anext(nobody.watch())
    with pytest.raises(RuntimeUnavailable, match="nobody"):
        await nobody.release("0123")


async def test_many_endpoints_come_in_parts(driver, observer, prepared, monkeypatch):
    monkeypatch.setattr("model_engine_runtime.agent.feed.SNAPSHOT_PART_BYTES", 2000)
    key = await prepared(driver)
    names = {f"end_{number}" for number in range(50)}
    await asyncio.gather(*(driver.runtime.apply(driver.want(key, endpoint_id=name)) for name in names))
    snapshot = await observer.look(driver.runtime)
    assert {state.endpoint_id for state in snapshot.sets} == names
