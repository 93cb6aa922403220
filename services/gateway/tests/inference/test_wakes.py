"""Demand reaches the autoscaler: at once, again and again while it lasts, and as one report per second."""

import asyncio
from time import monotonic
from typing import Any

from model_engine_chassis.nats_connection import connect
from model_engine_chassis.settings_base import NatsSettings
from model_engine_contracts.demand import DemandReport, WakeUp
from model_engine_contracts.subjects import DEMAND_SUBJECT, wake_subject
from model_engine_gateway.inference.demand import DemandMeter
from model_engine_gateway.inference.wakes import Wakes
from model_engine_local.testing import eventually


async def test_wake_ups_repeat_until_a_worker_is_there_and_reports_follow(nats_settings: NatsSettings) -> None:
    nats = await connect(nats_settings, "test")
    wakes: list[WakeUp] = []
    reports: list[DemandReport] = []

    async def on_wake(message: Any) -> None:
        wakes.append(WakeUp.model_validate_json(message.data))

    async def on_report(message: Any) -> None:
        reports.append(DemandReport.model_validate_json(message.data))

    await nats.subscribe(wake_subject("*"), cb=on_wake)
    await nats.subscribe(DEMAND_SUBJECT, cb=on_report)
    await nats.flush()
    ready: set[str] = set()
    demand = DemandMeter(monotonic())
    sender = Wakes(nats, "gateway-1", demand, lambda endpoint_id, _: endpoint_id in ready)
    running = asyncio.create_task(sender.run())

    demand.change("end_held", monotonic(), waiting=2)
    await sender.wake("end_held")
    await sender.wake_for_task("end_queued")
    await eventually(lambda: len(wakes) >= 6)
    assert {(wake.endpoint_id, wake.waiting) for wake in wakes} == {("end_held", 2), ("end_queued", 1)}
    await eventually(lambda: reports)
    assert reports[0].gateway == "gateway-1"
    assert reports[0].endpoints["end_held"].waiting == 2

    ready |= {"end_held", "end_queued"}
    demand.change("end_held", monotonic(), waiting=-2, in_flight=2)
    await eventually(lambda: len(reports) >= 2)
    seen = len(wakes)
    await sender.wake_for_task("end_queued")
    await eventually(lambda: len(reports) >= 3)
    assert len(wakes) == seen
    assert (reports[2].endpoints["end_held"].in_flight, reports[2].endpoints["end_held"].waiting) == (2, 0)
    running.cancel()
    await nats.close()
