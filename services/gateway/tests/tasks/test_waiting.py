"""Reading a task may wait for its end, whoever writes it."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from model_engine_gateway.clock import now
from model_engine_gateway.errors import ApiError
from model_engine_gateway.tasks import waiting
from model_engine_gateway.tasks.read import wait_of
from model_engine_gateway.tasks.repository import TaskRepository
from model_engine_gateway.tasks.states import TaskState
from model_engine_gateway.tasks.task import Finish
from model_engine_local.testing import eventually

from .conftest import DAY, Bench

END_OF_T1 = Finish("t1", TaskState.SUCCESS, now(), result='"done"')


@pytest.mark.parametrize(
    ("query", "prefer", "seconds", "applied"),
    [
        (b"", None, 0, None),
        (b"wait=2.5", None, 2.5, None),
        (b"wait=900", None, 60, None),
        (b"", b"wait=10", 10, b"wait=10"),
        (b"", b"respond-async, Wait=900", 60, b"wait=60"),
        (b"wait=0", b"wait=10", 0, None),
        (b"", b"wait=soon", 0, None),
        (b"", b"await=3", 0, None),
    ],
)
def test_how_long_a_request_wants_to_wait(
    query: bytes, prefer: bytes | None, seconds: float, applied: bytes | None
) -> None:
    headers = () if applied is None else ((b"preference-applied", applied),)
    assert wait_of(query, prefer) == (seconds, headers)


@pytest.mark.parametrize("query", [b"wait=", b"wait=soon", b"wait=-1", b"wait=nan"])
def test_a_wait_that_is_no_number_of_seconds_is_refused(query: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        wait_of(query, None)
    assert caught.value.status == 422
    assert caught.value.detail[0]["loc"] == ["query", "wait"]


async def read(bench: Bench, **options: Any) -> httpx.Response:
    return await bench.client.get("/v1/async-tasks/t1", headers={"authorization": "Bearer ada"}, **options)


async def waits(bench: Bench) -> bool:
    return bool(bench.service._waiting._waiting)


async def test_the_end_of_a_task_wakes_who_waits_for_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 60)
    await bench.insert()
    reading = asyncio.create_task(read(bench, params={"wait": 30}))
    await eventually(lambda: waits(bench))
    await bench.service._tasks.apply([END_OF_T1])
    assert (await reading).json()["result"] == "done"


async def test_an_end_that_another_gateway_wrote_is_found(bench: Bench) -> None:
    await bench.insert()
    polling = asyncio.create_task(bench.service._waiting.run(bench.service._tasks))
    reading = asyncio.create_task(read(bench, params={"wait": 30}))
    await eventually(lambda: waits(bench))
    await TaskRepository(bench.database, DAY).apply([END_OF_T1])
    assert (await reading).json()["status"] == "SUCCESS"
    polling.cancel()


async def test_a_wait_ends_with_what_there_is(bench: Bench) -> None:
    await bench.insert()
    assert (await read(bench, params={"wait": 0.05})).json()["status"] == "PENDING"
    unknown = await bench.client.get("/v1/async-tasks/t2", headers={"authorization": "Bearer ada", "prefer": "wait=60"})
    assert (unknown.json()["status"], unknown.headers["preference-applied"]) == ("PENDING", "wait=60")
    reading = asyncio.create_task(read(bench, params={"wait": 30}))
    await eventually(lambda: waits(bench))
    bench.service._waiting.close()
    assert (await reading).json()["status"] == "PENDING"
    assert (await read(bench, params={"wait": 30})).json()["status"] == "PENDING"
    assert not await waits(bench)


async def test_tasks_are_listed_by_owner_newest_first_in_pages(bench: Bench) -> None:
    moment = now()
    for number in range(5):
        await bench.insert(f"t{number}", submitted_at=moment + timedelta(seconds=number // 2))
    await bench.insert("other-endpoint", endpoint_id="end_2", submitted_at=moment - DAY)
    await bench.insert("foreign", owner="bob")
    await bench.tasks.apply([END_OF_T1])
    found: list[str] = []
    cursor = None
    while True:
        page = await bench.service.managed.list(bench.caller(), None, None, cursor, 2)
        found += [task.task_id for task in page.async_tasks]
        if (cursor := page.next_cursor) is None:
            break
    assert found == ["t4", "t3", "t2", "t1", "t0", "other-endpoint"]
    of_endpoint = await bench.service.managed.list(bench.caller(), "end_2", None, None, 2)
    assert [task.task_id for task in of_endpoint.async_tasks] == ["other-endpoint"]
