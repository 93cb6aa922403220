"""The relay: every event once, in order, whatever else happens to its documents."""

from functools import partial
from typing import Any

import pytest
from pymongo.errors import PyMongoError

from model_engine_chassis import outbox
from model_engine_chassis.history import History
from model_engine_chassis.mongo import connect_mongo
from model_engine_chassis.nats_connection import connect
from model_engine_chassis.outbox import OutboxRelay, compare_and_set
from model_engine_chassis.publish import publish_event
from model_engine_chassis.settings_base import MongoSettings, NatsSettings
from model_engine_chassis.topology_ensure import ensure_topology
from model_engine_contracts.events import parse_event
from model_engine_local.servers import MongoServer
from model_engine_local.testing import eventually


async def test_a_change_and_its_events_are_one_write(mongo_db: Any, insert: Any, updated: Any) -> None:
    await insert("end_a")
    event = updated("end_a", 2)
    assert await compare_and_set(mongo_db.endpoints, "end_a", 1, {"name": "new"}, [event])
    document = await mongo_db.endpoints.find_one({"_id": "end_a"})
    assert (document["name"], document["version"], document["outbox"][0]["id"]) == ("new", 2, event.id)


async def test_a_change_of_an_older_version_changes_nothing_and_says_nothing(
    mongo_db: Any, insert: Any, updated: Any
) -> None:
    await insert("end_a")
    assert await compare_and_set(mongo_db.endpoints, "end_a", 1, {"name": "first"})
    assert not await compare_and_set(mongo_db.endpoints, "end_a", 1, {"name": "second"}, [updated("end_a")])
    document = await mongo_db.endpoints.find_one({"_id": "end_a"})
    assert (document["name"], document["outbox"]) == ("first", [])


async def test_events_are_stored_then_published_in_order_and_the_version_stays(
    mongo_db: Any, insert: Any, updated: Any, relaying: Any, record: Any, published: list[Any]
) -> None:
    before = [updated("end_a", generation) for generation in (1, 2)]
    await insert("end_a", *before)
    async with relaying(record):
        await eventually(lambda: len(published) == 2)
        later = [updated("end_a", generation) for generation in (3, 4, 5)]
        assert await compare_and_set(mongo_db.endpoints, "end_a", 1, {}, later[:1])
        assert await compare_and_set(mongo_db.endpoints, "end_a", 2, {}, later[1:])
        await eventually(lambda: len(published) == 5)
        document = await eventually(lambda: mongo_db.endpoints.find_one({"_id": "end_a", "outbox": []}))
    assert document["version"] == 3
    assert [event.id for event in published] == [event.id for event in before + later]
    assert [event.sequence for event in published] == [1, 2, 3, 4, 5]
    positions = [event.position for event in published]
    assert positions == sorted(set(positions))
    records = await History(mongo_db).read("ada", 0)
    assert [parse_event(record.text) for record in records] == published, "history and NATS say the same"


async def test_events_of_many_documents_written_at_once(
    mongo_db: Any, insert: Any, updated: Any, relaying: Any, record: Any, published: list[Any]
) -> None:
    async with relaying(record):
        for number in range(40):
            name = "bundles" if number % 2 else "endpoints"
            await insert(f"x_{number}", *(updated(f"x_{number}", 1 + n) for n in range(3)), collection=name)
        await eventually(lambda: len(published) == 120)
    assert len({event.id for event in published}) == 120
    for number in range(40):
        mine = [event for event in published if event.subject == f"x_{number}"]
        assert [(event.sequence, event.data.generation) for event in mine] == [(1, 1), (2, 2), (3, 3)]


async def test_an_outbox_longer_than_a_batch_is_emptied(
    mongo_db: Any, insert: Any, updated: Any, relaying: Any, record: Any, published: list[Any]
) -> None:
    count = outbox.DOCUMENT_EVENTS * 2 + 5
    await insert("end_a", *(updated("end_a", 1 + number) for number in range(count)))
    async with relaying(record):
        await eventually(lambda: mongo_db.endpoints.find_one({"_id": "end_a", "outbox": []}))
    assert [event.sequence for event in published] == list(range(1, count + 1))


async def test_the_relays_own_pull_does_not_wake_it_again(
    mongo_db: Any,
    insert: Any,
    updated: Any,
    relaying: Any,
    record: Any,
    published: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "SWEEP_SECONDS", 60)
    read: list[Any] = []

    class Watched(OutboxRelay):
        async def _read(self, references: Any) -> Any:
            read.extend(document_id for _, document_id in references)
            return await super()._read(references)

    await insert("end_first", updated("end_first"))
    async with relaying(record, Watched):
        await eventually(lambda: len(published) == 1)  # by the only sweep: from now on the stream tells
        await insert("end_a", updated("end_a"))
        await eventually(lambda: mongo_db.endpoints.find_one({"_id": "end_a", "outbox": []}))
        await mongo_db.endpoints.update_one({"_id": "end_a"}, {"$set": {"status": "READY"}})
        # The stream is in order, so what the pull and the status would announce comes before this.
        await insert("end_last", updated("end_last"))
        await eventually(lambda: len(published) == 3)
    assert read.count("end_a") == 1
    assert read.count("end_last") == 1


async def test_a_document_whose_event_cannot_be_published_does_not_hold_up_others(
    insert: Any, updated: Any, relaying: Any, record: Any, published: list[Any]
) -> None:
    is_broken = True

    async def publish(event: Any) -> None:
        if is_broken and event.subject == "end_bad" and event.data.generation == 2:
            raise ConnectionError("no acknowledgement")
        await record(event)

    await insert("end_bad", *(updated("end_bad", generation) for generation in (1, 2, 3)))
    async with relaying(publish):
        await eventually(lambda: len(published) == 1)
        await insert("end_good", updated("end_good"))
        await eventually(lambda: len(published) == 2)
        is_broken = False
        await eventually(lambda: len(published) == 4)
    bad = [event.data.generation for event in published if event.subject == "end_bad"]
    assert bad == [1, 2, 3], "the order within the document is kept"


async def test_an_event_of_an_unknown_type_stays_and_does_not_hold_up_others(
    mongo_db: Any, insert: Any, updated: Any, relaying: Any, record: Any, published: list[Any]
) -> None:
    await insert("end_new", updated("end_new", 1), updated("end_new", 2))
    await mongo_db.endpoints.update_one({"_id": "end_new"}, {"$set": {"outbox.1.type": "modelengine.endpoint.new.v9"}})
    await insert("end_good", updated("end_good"))
    async with relaying(record):
        await eventually(lambda: len(published) == 2)
        left = await eventually(lambda: mongo_db.endpoints.find_one({"_id": "end_new", "outbox": {"$size": 1}}))
    assert left["outbox"][0]["type"] == "modelengine.endpoint.new.v9"


async def test_a_tombstone_goes_when_its_events_are_out(
    mongo_db: Any, insert: Any, updated: Any, relaying: Any, record: Any, published: list[Any]
) -> None:
    await insert("end_a")
    await insert("end_b")
    async with relaying(record):
        assert await compare_and_set(mongo_db.endpoints, "end_a", 1, {"tombstone": True}, [updated("end_a")])
        await eventually(lambda: _is_gone(mongo_db, "end_a"))
        assert len(published) == 1
    assert await mongo_db.endpoints.find_one({"_id": "end_b"})


async def test_a_tombstone_whose_last_event_is_not_out_stays(
    mongo_db: Any, insert: Any, updated: Any, relaying: Any, published: list[Any], record: Any
) -> None:
    async def refuse(event: Any) -> None:
        if event.subject == "end_a":
            raise ConnectionError("no acknowledgement")
        await record(event)

    await insert("end_a", updated("end_a"), tombstone=True)
    async with relaying(refuse):
        await insert("end_b", updated("end_b"))
        await eventually(lambda: len(published) == 1)
        await eventually(lambda: mongo_db.endpoints.find_one({"_id": "end_b", "outbox": []}))
        assert await mongo_db.endpoints.find_one({"_id": "end_a"})


async def test_an_empty_tombstone_left_by_a_relay_that_died_is_removed(
    mongo_db: Any, insert: Any, relaying: Any, record: Any
) -> None:
    await insert("end_a", tombstone=True)
    async with relaying(record):
        await eventually(lambda: _is_gone(mongo_db, "end_a"))


async def test_a_late_pull_of_a_former_relay_takes_nothing_new_away(
    mongo_db: Any, insert: Any, updated: Any, relaying: Any, record: Any, published: list[Any]
) -> None:
    pulls: list[Any] = []

    class Remembering(OutboxRelay):
        async def _pull(self, *arguments: Any) -> None:
            pulls.append(arguments)
            await super()._pull(*arguments)

    await insert("end_a", updated("end_a", 1))
    async with relaying(record, Remembering) as relay:
        await eventually(lambda: mongo_db.endpoints.find_one({"_id": "end_a", "outbox": []}))
        assert await compare_and_set(mongo_db.endpoints, "end_a", 1, {}, [updated("end_a", 2)])
        await eventually(lambda: mongo_db.endpoints.find_one({"_id": "end_a", "outbox": [], "version": 2}))
    assert await compare_and_set(mongo_db.endpoints, "end_a", 2, {}, [updated("end_a", 3)])
    await OutboxRelay._pull(relay, *pulls[0])
    document = await mongo_db.endpoints.find_one({"_id": "end_a"})
    assert (len(document["outbox"]), document[outbox.SEQUENCE]) == (1, 2)


async def test_the_stream_of_nats_holds_one_copy_of_an_event_that_was_published_twice(
    mongo_db: Any, insert: Any, updated: Any, relaying: Any, nats_settings: NatsSettings
) -> None:
    nats = await connect(nats_settings, "test")
    js = nats.jetstream()
    await ensure_topology(js)
    attempts: list[Any] = []

    async def publish(event: Any) -> None:
        attempts.append(event)
        await publish_event(js, event)
        if len(attempts) == 1:
            raise ConnectionError("the acknowledgement was lost")

    await insert("end_a", updated("end_a"))
    async with relaying(publish):
        await eventually(lambda: mongo_db.endpoints.find_one({"_id": "end_a", "outbox": []}))
    assert len(attempts) == 2
    info = await js.stream_info("EVENTS")
    assert info.state.messages == 1
    await nats.close()


async def test_the_relay_goes_on_after_mongodb_was_killed_and_started_again(
    mongo_server: MongoServer, updated: Any, record: Any, published: list[Any], relaying: Any
) -> None:
    database = connect_mongo(MongoSettings(mongo_url=mongo_server.url, mongo_database="restarted"))
    event = updated("end_a")
    async with relaying(record, database=database):
        await database.endpoints.insert_one({"_id": "end_a", "version": 1, "outbox": [outbox.outbox_entry(event)]})
        await eventually(lambda: len(published) == 1)
        mongo_server.kill()
        mongo_server.start()
        await eventually(partial(_write, database, updated("end_a", 2)), timeout=30)
        await eventually(lambda: len({event.id for event in published}) == 2, timeout=30)
    assert [record.position for record in await History(database).read("ada", 0)] == sorted(
        {event.position for event in published}
    )
    database.client.close()


async def _write(database: Any, event: Any) -> bool:
    try:
        written = await compare_and_set(database.endpoints, "end_a", 1, {}, [event])
        return written or await database.endpoints.find_one({"_id": "end_a", "version": 2}) is not None
    except PyMongoError:
        return False


async def _is_gone(database: Any, document_id: str) -> bool:
    return await database.endpoints.find_one({"_id": document_id}) is None
