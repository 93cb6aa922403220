"""The demonstration while every process of the platform is killed, one after the other: it still ends well."""

import asyncio
from pathlib import Path

import pytest

from model_engine.connection import Connection
from model_engine_local.demo import load_digits, show
from model_engine_local.testing import eventually
from platform_under_test import Platform

VICTIMS = ("gateway", "builder", "cache", "autoscaler", "agent", "nats", "mongo", "valkey")


@pytest.mark.timeout(240)
async def test_the_demo_survives_the_death_of_every_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    platform = await asyncio.to_thread(Platform.start, tmp_path, {}, {})
    killed: list[str] = []
    try:
        demo = asyncio.create_task(
            asyncio.to_thread(show, Connection(platform.running.url, platform.key), load_digits())
        )
        for victim in VICTIMS:
            if demo.done():
                break
            platform.kill(victim)
            killed.append(victim)
            await eventually(lambda name=victim: len(platform.processes(name)) == 1, 30)
            await eventually(platform.ready, 30)
        scores = await demo
    finally:
        await asyncio.to_thread(platform.stop)
    with capsys.disabled():
        print(f"\nkilled during the demo: {', '.join(killed)}")
    assert all(score.passed for score in scores)
    assert platform.leftovers() == []
