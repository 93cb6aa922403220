"""The connection factory: it waits for the first connection and outlives outages of any length, quietly."""

import asyncio
import logging
from pathlib import Path

import nats
import pytest

from model_engine_chassis.nats_connection import connect, connection_options
from model_engine_chassis.settings_base import NatsSettings
from model_engine_local.servers import NatsServer
from model_engine_local.testing import eventually

CLIENT_DEFAULT_ATTEMPTS = 60


async def test_an_outage_longer_than_the_clients_default_attempts_is_survived(
    nats_server: NatsServer, nats_settings: NatsSettings, caplog: pytest.LogCaptureFixture
):
    options = connection_options(nats_settings, "test") | {"reconnect_time_wait": 0.001}
    attempts = 0
    report = options["error_cb"]

    async def count(error: Exception) -> None:
        nonlocal attempts
        attempts += 1
        await report(error)

    client = await nats.connect(**options | {"error_cb": count})
    caplog.set_level(logging.WARNING)
    nats_server.kill()
    # The event loop is alive all the while, or nothing would be polled here.
    await eventually(lambda: attempts > 2 * CLIENT_DEFAULT_ATTEMPTS)
    assert not client.is_closed
    nats_server.start()
    await eventually(lambda: client.is_connected)
    assert (await client.request("$JS.API.INFO", timeout=5)).data
    assert len([record for record in caplog.records if record.message == "NATS error"]) <= 3
    await client.close()


async def test_the_first_connection_is_waited_for(tmp_path: Path):
    server = NatsServer(tmp_path / "nats")
    connecting = asyncio.create_task(connect(NatsSettings(nats_url=server.url), "test"))
    await asyncio.sleep(0)
    try:
        await asyncio.to_thread(server.start)
        client = await asyncio.wait_for(connecting, 10)
        assert client.is_connected
        await client.close()
    finally:
        server.kill()


def test_options_hold_every_server_the_identity_and_the_credentials(tmp_path: Path):
    settings = NatsSettings(
        nats_url="nats://a:4222, nats://b:4222",
        nats_token="secret",
        nats_credentials_file=tmp_path / "user.creds",
        instance_id="one",
    )
    options = connection_options(settings, "gateway")
    assert options["servers"] == ["nats://a:4222", "nats://b:4222"]
    assert options["name"] == "gateway/one"
    assert options["max_reconnect_attempts"] == -1
    assert options["token"] == "secret"
    assert options["user_credentials"] == str(tmp_path / "user.creds")


def test_processes_do_not_reconnect_in_step():
    settings = NatsSettings(nats_url="nats://a:4222")
    assert len({connection_options(settings, "gateway")["reconnect_time_wait"] for _ in range(5)}) > 1
