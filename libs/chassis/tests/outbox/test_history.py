"""Reading the history: by position, by owner, by endpoint, and as it goes on."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from model_engine_chassis import history
from model_engine_chassis.history import History
from model_engine_chassis.history_writer import HistoryWriter
from model_engine_contracts.events import TaskFailed, new_event


@pytest.fixture
async def writer(mongo_db: Any) -> HistoryWriter:
    return await HistoryWriter.take_over(mongo_db, 1)


async def test_read_gives_an_owner_its_events_only(mongo_db: Any, writer: HistoryWriter, updated: Any) -> None:
    await writer.append([updated("end_a"), updated("end_b", owner="bob"), updated("end_c")])
    subjects = [record.text for record in await History(mongo_db).read("ada", 0)]
    assert ["end_a" in subjects[0], "end_c" in subjects[1], len(subjects)] == [True, True, 2]


async def test_read_goes_on_after_a_position_and_is_bounded(mongo_db: Any, writer: HistoryWriter, updated: Any) -> None:
    stored = await writer.append([updated("end_a", generation) for generation in range(1, 6)])
    page = await History(mongo_db).read("ada", stored[1].position or 0, limit=2)
    assert [record.event_id for record in page] == [stored[2].id, stored[3].id]


async def test_read_of_an_endpoint_has_its_tasks_and_of_types_only_those(
    mongo_db: Any, writer: HistoryWriter, updated: Any
) -> None:
    failed = TaskFailed(task_id="t1", endpoint_id="end_a", attempt=1, error="boom")
    failure = new_event(failed, source="test", owner="ada")
    await writer.append([updated("end_a"), updated("end_b"), failure])
    reader = History(mongo_db)
    assert len(await reader.read("ada", 0, endpoint_id="end_a")) == 2
    assert [record.event_id for record in await reader.read("ada", 0, types={failure.type})] == [failure.id]


@pytest.mark.parametrize("poked", [True, False])
async def test_follow_reads_what_was_then_what_comes(
    mongo_db: Any, writer: HistoryWriter, updated: Any, poked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a poke the backstop is out of reach; without one it is what finds the event.
    monkeypatch.setattr(history, "BACKSTOP_SECONDS", 600.0 if poked else 0.05)
    monkeypatch.setattr(history, "PAGE", 2)
    await writer.append([updated("end_a", generation) for generation in (1, 2, 3, 4, 5)])
    reader = History(mongo_db)
    async with aclosing(reader.follow("ada", 0)) as records:
        old = [await anext(records) for _ in range(5)]
        waiting = asyncio.ensure_future(anext(records))
        [late] = await writer.append([updated("end_a", 6)])
        if poked:
            reader.poke("ada")
        assert (await asyncio.wait_for(waiting, 10)).event_id == late.id
    assert [record.position for record in old] == sorted(record.position for record in old)
    assert not reader._followers, "nothing is left of a follower that went away"


async def test_a_poke_between_two_pages_is_not_lost(
    mongo_db: Any, writer: HistoryWriter, updated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "BACKSTOP_SECONDS", 600.0)
    reader = History(mongo_db)
    async with aclosing(reader.follow("ada", 0)) as records:
        for generation in range(1, 30):
            [event] = await writer.append([updated("end_a", generation)])
            reader.poke("ada")
            assert (await asyncio.wait_for(anext(records), 10)).event_id == event.id


async def test_followers_share_one_question_for_the_newest_position(mongo_db: Any, writer: HistoryWriter) -> None:
    class Counting(History):
        questions = 0

        async def last_position(self) -> int:
            self.questions += 1
            return await super().last_position()

    reader = Counting(mongo_db)
    followers = [reader.follow(f"owner-{number}", 0) for number in range(20)]
    waiting = [asyncio.ensure_future(anext(follower)) for follower in followers]
    await asyncio.wait(waiting, timeout=0.5)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert reader.questions <= 2
