"""Positions: one writer, none used twice, none below what a reader has seen, none again after the records are gone."""

import asyncio
from typing import Any

import pytest

from model_engine_chassis.history import HISTORY, HISTORY_INDEXES, History
from model_engine_chassis.history_writer import HistoryWriter, Superseded


async def test_positions_rise_from_one_batch_to_the_next(mongo_db: Any, updated: Any) -> None:
    writer = await HistoryWriter.take_over(mongo_db, 1)
    first = await writer.append([updated("end_a"), updated("end_b")])
    second = await writer.append([updated("end_a")])
    assert [event.position for event in first + second] == [2, 3, 4]
    assert await History(mongo_db).last_position() == 4


async def test_an_event_that_is_stored_already_keeps_its_position(mongo_db: Any, updated: Any) -> None:
    events = [updated("end_a", generation) for generation in (1, 2, 3, 4)]
    former = await HistoryWriter.take_over(mongo_db, 1)
    stored = await former.append([events[0], events[2]])
    writer = await HistoryWriter.take_over(mongo_db, 2)
    again = await writer.append(events)
    assert (again[0].position, again[2].position) == (stored[0].position, stored[1].position)
    assert len({event.position for event in again}) == 4
    assert len(await History(mongo_db).read("ada", 0)) == 4


@pytest.mark.parametrize("new_writer_wrote", [False, True])
async def test_a_stale_writer_cannot_insert_anything(mongo_db: Any, updated: Any, new_writer_wrote: bool) -> None:
    stale = await HistoryWriter.take_over(mongo_db, 1)
    await stale.append([updated("end_a", 1)])
    new = await HistoryWriter.take_over(mongo_db, 2)
    if new_writer_wrote:
        await new.append([updated("end_b", 1), updated("end_b", 2)])
    before = await mongo_db[HISTORY].count_documents({})
    with pytest.raises(Superseded):
        await stale.append([updated("end_a", 2), updated("end_a", 3)])
    assert await mongo_db[HISTORY].count_documents({}) == before
    await new.append([updated("end_a", 2)])


async def test_a_takeover_in_the_middle_of_writing_leaves_no_gap_to_be_filled_later(
    mongo_db: Any, updated: Any
) -> None:
    """A reader that goes by positions, while two writers fight, must see every position that exists in the end."""
    seen: list[int] = []
    is_done = False

    async def write(epoch: int) -> None:
        writer = await HistoryWriter.take_over(mongo_db, epoch)
        while not is_done:
            try:
                await writer.append([updated("end_a") for _ in range(5)])
            except Superseded:
                writer = await HistoryWriter.take_over(mongo_db, epoch)

    async def read() -> None:
        while len(seen) < 300:
            after = seen[-1] if seen else 0
            cursor = mongo_db[HISTORY].find({"_id": {"$gt": after}}, {"_id": 1}).sort("_id", 1)
            seen.extend([record["_id"] async for record in cursor])

    async with asyncio.TaskGroup() as group:
        group.create_task(write(1))
        group.create_task(write(2))
        await read()
        is_done = True
    existing = [record["_id"] async for record in mongo_db[HISTORY].find({"_id": {"$lte": seen[-1]}}).sort("_id", 1)]
    assert seen == existing
    assert existing == list(range(1, existing[-1] + 1)), "positions are dense"


async def test_positions_never_restart_after_every_record_reached_its_age(mongo_db: Any, updated: Any) -> None:
    writer = await HistoryWriter.take_over(mongo_db, 1)
    [event] = await writer.append([updated("end_a")])
    await writer.save_head()
    await mongo_db[HISTORY].delete_many({})
    [next_event] = await (await HistoryWriter.take_over(mongo_db, 2)).append([updated("end_a")])
    assert next_event.position > event.position


async def test_records_are_removed_after_seven_days(mongo_db: Any) -> None:
    await HistoryWriter.take_over(mongo_db, 1)
    indexes = await mongo_db[HISTORY].index_information()
    assert indexes["retention"]["expireAfterSeconds"] == 7 * 24 * 3600
    assert set(indexes) == {"_id_"} | {index.document["name"] for index in HISTORY_INDEXES}
