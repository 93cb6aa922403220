"""The connections: how durable writes are, who the database belongs to, and what happens when a server is away."""

import asyncio
from typing import Any

import pytest
from pymongo import IndexModel
from redis.exceptions import RedisError

from model_engine_chassis.mongo import ensure_indexes, installation_id
from model_engine_chassis.redis_connection import connect_redis
from model_engine_chassis.settings_base import RedisSettings
from model_engine_local.servers import ValkeyServer


async def test_writes_wait_for_a_majority_and_the_journal(mongo_db: Any) -> None:
    assert mongo_db.write_concern.document == {"w": "majority", "j": True}
    assert mongo_db.read_concern.level == "majority"


async def test_every_process_gets_the_same_installation_id(mongo_db: Any) -> None:
    ids = await asyncio.gather(*(installation_id(mongo_db) for _ in range(20)))
    assert len(set(ids)) == 1
    assert len(ids[0]) == 32


async def test_indexes_are_made_once_by_many_at_once(mongo_db: Any) -> None:
    indexes = {"things": [IndexModel([("name", 1)], name="name", unique=True)]}
    await asyncio.gather(*(ensure_indexes(mongo_db, indexes) for _ in range(5)))
    assert set(await mongo_db.things.index_information()) == {"_id_", "name"}


async def test_redis_is_used_again_after_it_was_killed_and_started(
    valkey_server: ValkeyServer, redis_settings: RedisSettings
) -> None:
    redis = connect_redis(redis_settings)
    await redis.set("key", "value")
    valkey_server.kill()
    with pytest.raises(RedisError):
        await redis.get("key")
    valkey_server.start()
    assert await redis.ping()
    await redis.aclose()
