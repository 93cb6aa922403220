"""The Puller against a real nats-server: delivery, acknowledgement, concurrency, drain."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, ConsumerInfo
from prometheus_client import REGISTRY

from model_engine_chassis import trace
from model_engine_chassis.puller import PermanentError, Puller
from model_engine_local.testing import eventually

Pulling = Callable[..., AbstractAsyncContextManager[Puller]]  # the fixture of conftest.py


async def state(js: JetStreamContext) -> ConsumerInfo:
    return await js.consumer_info("WORK", "workers")


def rebinds() -> float:
    return REGISTRY.get_sample_value("modelengine_puller_rebinds_total", {"durable": "workers"}) or 0.0


async def fill(js: JetStreamContext, count: int) -> None:
    for number in range(count):
        await js.publish("work", str(number).encode(), stream="WORK")


async def test_every_message_is_handled_once_and_never_more_at_once_than_the_window(
    nats_client: Nats, js: JetStreamContext, queue: None, pulling: Pulling
):
    handled: list[bytes] = []
    most = 0

    async def handler(message: Msg) -> None:
        nonlocal most
        most = max(most, puller.running)
        await asyncio.sleep(0)
        handled.append(message.data)

    async with pulling(handler, window=8) as puller:
        await fill(js, 300)
        await eventually(lambda: len(handled) >= 300)
    assert sorted(handled, key=int) == [str(number).encode() for number in range(300)]
    assert 1 <= most <= 8
    assert (await js.stream_info("WORK")).state.messages == 0


@pytest.mark.parametrize("window", [1, 4])
async def test_handlers_that_all_end_in_one_turn_of_the_loop_do_not_stop_the_flow(
    js: JetStreamContext, queue: None, pulling: Pulling, window: int
):
    await fill(js, 12)
    gate = asyncio.Event()
    handled = 0

    async def handler(message: Msg) -> None:
        nonlocal handled
        await gate.wait()
        handled += 1

    async with pulling(handler, window=window) as puller:
        await eventually(lambda: puller.running == window)
        gate.set()
        await eventually(lambda: handled == 12)


async def test_a_failed_message_comes_again_after_growing_delays(
    nats_client: Nats, js: JetStreamContext, queue: None, pulling: Pulling
):
    times: list[float] = []

    async def handler(message: Msg) -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) < 3:
            raise ValueError("not yet")

    await fill(js, 1)
    async with pulling(handler):
        await eventually(lambda: len(times) == 3)
    assert times[1] - times[0] >= 0.5
    assert times[2] - times[1] >= 1.0


async def test_a_permanent_error_terminates_the_message_with_its_reason(
    nats_client: Nats, js: JetStreamContext, queue: None, pulling: Pulling
):
    advisories: list[bytes] = []

    async def on_advisory(message: Msg) -> None:
        advisories.append(message.data)

    await nats_client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.WORK.workers", cb=on_advisory)
    deliveries = 0

    async def handler(message: Msg) -> None:
        nonlocal deliveries
        deliveries += 1
        raise PermanentError("no such\nfield: args")

    await fill(js, 1)
    async with pulling(handler):
        await eventually(lambda: advisories)
    assert b'"reason":"no such field: args"' in advisories[0]
    assert deliveries == 1
    assert (await js.stream_info("WORK")).state.messages == 0


async def test_a_long_task_is_kept_and_silence_meanwhile_is_no_fault(
    nats_client: Nats, js: JetStreamContext, queue: None, pulling: Pulling
):
    await js.add_consumer("WORK", ConsumerConfig(durable_name="workers", ack_wait=0.6))
    signals = 0
    rebinds_before = rebinds()

    async def on_signal(message: Msg) -> None:
        nonlocal signals
        signals += message.data == b"+WPI"

    await nats_client.subscribe("$JS.ACK.WORK.workers.>", cb=on_signal)
    deliveries = 0
    done = asyncio.Event()

    async def handler(message: Msg) -> None:
        nonlocal deliveries
        deliveries += 1
        await done.wait()

    await fill(js, 1)
    async with pulling(handler, window=1, ack_wait=0.6, heartbeat=0.1):
        # Six signals, one each 0.2 s, are twice the time after which the message would come again.
        await eventually(lambda: signals >= 6)
        assert deliveries == 1
        assert rebinds() == rebinds_before, "it began anew although nothing was wrong"
        done.set()
    assert deliveries == 1
    assert (await js.stream_info("WORK")).state.messages == 0


async def test_a_window_of_zero_leaves_messages_to_others(js: JetStreamContext, queue: None, pulling: Pulling):
    handled = 0

    async def handler(message: Msg) -> None:
        nonlocal handled
        handled += 1

    async def nothing_is_asked_for() -> bool:
        return (await state(js)).num_waiting == 0

    async with pulling(handler, window=0) as puller:
        await fill(js, 2)
        await puller.set_window(2)
        await eventually(lambda: handled == 2)
        await puller.set_window(0)
        await eventually(nothing_is_asked_for)
        await fill(js, 1)
        info = await state(js)
        assert (handled, info.num_pending, info.num_ack_pending) == (2, 1, 0)


async def test_drain_finishes_what_runs_and_takes_nothing_more(
    nats_client: Nats, js: JetStreamContext, queue: None, pulling: Pulling
):
    await fill(js, 10)
    gate = asyncio.Event()
    finished = 0

    async def handler(message: Msg) -> None:
        nonlocal finished
        await gate.wait()
        finished += 1

    async with pulling(handler, window=3) as puller:
        await eventually(lambda: puller.running == 3)
        asyncio.get_running_loop().call_soon(gate.set)
    assert finished == 3
    info = await state(js)
    assert (info.num_ack_pending, info.num_pending) == (0, 7)


async def test_what_does_not_finish_in_the_drain_is_handed_back_at_once(
    nats_client: Nats, js: JetStreamContext, queue: None, pulling: Pulling
):
    await fill(js, 2)

    async def stuck(message: Msg) -> None:
        await asyncio.Event().wait()

    async with pulling(stuck, drain_seconds=0.05) as puller:
        await eventually(lambda: puller.running == 2)

    redelivered: list[int] = []

    async def handler(message: Msg) -> None:
        redelivered.append(message.metadata.num_delivered)

    # The durable's ack_wait is a minute: only messages that were handed back can come this soon.
    async with pulling(handler):
        await eventually(lambda: redelivered == [2, 2])


async def test_a_cancelled_run_hands_its_messages_back(
    nats_client: Nats, js: JetStreamContext, queue: None, pulling: Pulling
):
    await fill(js, 1)

    async def stuck(message: Msg) -> None:
        await asyncio.Event().wait()

    puller = Puller(nats_client, stream="WORK", durable="workers", handler=stuck, window=1, ack_wait=60.0)
    task = asyncio.create_task(puller.run(asyncio.Event()))
    await eventually(lambda: puller.running == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert puller.running == 0

    redelivered = asyncio.Event()

    async def handler(message: Msg) -> None:
        redelivered.set()

    async with pulling(handler):
        await eventually(redelivered.is_set)


async def test_the_handler_runs_in_the_trace_of_its_message(
    nats_client: Nats, js: JetStreamContext, queue: None, pulling: Pulling
):
    seen: list[trace.TraceContext | None] = []

    async def handler(message: Msg) -> None:
        seen.append(trace.current())

    async with pulling(handler):
        with trace.use(None) as context:
            await js.publish("work", b"", headers=dict(trace.outgoing_headers()))
        await eventually(lambda: seen)
    assert seen[0] is not None
    assert seen[0].trace_id == context.trace_id
