"""Fixtures of every test: real servers, each test on its own data."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from model_engine_chassis.mongo import connect_mongo
from model_engine_chassis.settings_base import MongoSettings, NatsSettings, RedisSettings
from model_engine_local.servers import MongoServer, NatsServer, ValkeyServer

_SERVER_FIXTURES = {"nats_server", "nats_url", "mongo_server", "mongo_url", "mongo_db", "valkey_server", "valkey_url"}
_PLATFORM_FOLDERS = ("tests/e2e/", "tests/chaos/")
_INTEGRATION_FOLDERS = ("tests/integration/", "examples/", "deploy/local/tests/test_servers.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by what they use, so that `make unit` and `make integration` need no marks in the files."""
    for item in items:
        path = item.path.relative_to(config.rootpath).as_posix()
        if path.startswith(_PLATFORM_FOLDERS):
            item.add_marker(pytest.mark.e2e)
        elif path.startswith(_INTEGRATION_FOLDERS) or _SERVER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.integration)


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A fresh nats-server with JetStream; the test may stop, kill and start it."""
    server = NatsServer(tmp_path / "nats", die_with_parent=True)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def nats_url(nats_server: NatsServer) -> str:
    """Where a fresh NATS is."""
    return nats_server.url


@pytest.fixture
def nats_settings(nats_url: str) -> NatsSettings:
    """Settings that point to a fresh NATS."""
    return NatsSettings(nats_url=nats_url)


@pytest.fixture(scope="session")
def mongo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the mongod of this session (or parallel worker) is; take a database of your own (mongo_settings)."""
    server = MongoServer(tmp_path_factory.mktemp("mongo"), die_with_parent=True)
    server.start()
    yield server.url
    server.kill()


@pytest.fixture
def mongo_server(tmp_path: Path) -> Iterator[MongoServer]:
    """A mongod of the test's own, to stop, kill and start. It takes two seconds: for tests of faults only."""
    server = MongoServer(tmp_path / "mongo", die_with_parent=True)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def mongo_settings(mongo_url: str) -> MongoSettings:
    """Settings that point to a database of this test only."""
    return MongoSettings(mongo_url=mongo_url, mongo_database=f"test_{uuid4().hex[:12]}")


@pytest.fixture
async def mongo_db(mongo_settings: MongoSettings) -> AsyncIterator[Any]:
    """A database of this test only."""
    database = connect_mongo(mongo_settings)
    yield database
    await database.client.drop_database(database.name)
    database.client.close()


@pytest.fixture
def valkey_server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A fresh Valkey."""
    server = ValkeyServer(tmp_path / "valkey", die_with_parent=True)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def valkey_url(valkey_server: ValkeyServer) -> str:
    """Where a fresh Valkey is."""
    return valkey_server.url


@pytest.fixture
def redis_settings(valkey_url: str) -> RedisSettings:
    """Settings that point to a fresh Valkey."""
    return RedisSettings(redis_url=valkey_url)
