"""What is removed because nobody wants it, and what is not because the database may be wrong."""

from collections.abc import Sequence

from model_engine_builder.domain.rollout import RolloutPhase
from model_engine_builder.janitor import Janitor
from model_engine_builder.queues import Queues
from model_engine_builder.repository import EndpointRepository, RolloutRepository
from model_engine_chassis.leases import LeaseStore
from model_engine_chassis.mongo import installation_id
from model_engine_contracts.documents import ENDPOINTS
from model_engine_local.testing import eventually

from .conftest import Bench, spec_of


async def janitor_of(bench: Bench, installation: str | None = None) -> Janitor:
    return Janitor(
        runtime=bench.runtime,
        endpoints=EndpointRepository(bench.database),
        rollouts=RolloutRepository(bench.database),
        queues=Queues(bench.nats),
        leases=LeaseStore(bench.database),
        installation=installation or await installation_id(bench.database),
        interval=60.0,
        orphan_age=0.0,
        environment_grace=0.0,
    )


async def running(bench: Bench, count: int) -> list[str]:
    """So many endpoints that serve, and no builder any more."""
    end = bench.start_builder()
    endpoints = [await bench.create(spec_of({})) for _ in range(count)]
    for endpoint in endpoints:
        await bench.until(endpoint, RolloutPhase.SUCCEEDED)
    await end()
    return endpoints


async def forget(bench: Bench, endpoints: Sequence[str]) -> None:
    await bench.database[ENDPOINTS].delete_many({"_id": {"$in": list(endpoints)}})


async def left(bench: Bench) -> set[str]:
    return {state.endpoint_id for state in (await bench.snapshot()).sets if not state.deleting}


async def test_an_orphan_is_removed_at_the_second_look(bench: Bench) -> None:
    endpoints = await running(bench, 2)
    await forget(bench, endpoints[:1])
    janitor = await janitor_of(bench)
    await janitor.once()
    assert await left(bench) == set(endpoints)
    await janitor.once()

    async def is_gone() -> bool:
        return await left(bench) == set(endpoints[1:])

    await eventually(is_gone)
    # What was remembered of it goes, too, and so does its lease; what serves keeps its environment.
    assert await bench.rollout(endpoints[0]) is None
    assert await bench.database["leases"].find_one({"_id": f"endpoint:{endpoints[0]}"}) is None
    assert len((await bench.snapshot()).preparations) == 1


async def test_an_empty_database_removes_nothing(bench: Bench) -> None:
    endpoints = await running(bench, 2)
    await forget(bench, endpoints)
    janitor = await janitor_of(bench)
    for _ in range(3):
        await janitor.once()
    assert await left(bench) == set(endpoints)
    assert len((await bench.snapshot()).preparations) == 1


async def test_a_foreign_database_removes_nothing(bench: Bench) -> None:
    endpoints = await running(bench, 2)
    await forget(bench, endpoints[:1])
    janitor = await janitor_of(bench, installation="another")
    for _ in range(3):
        await janitor.once()
    assert await left(bench) == set(endpoints)


async def test_too_many_orphans_at_once_raise_an_alarm_only(bench: Bench) -> None:
    endpoints = await running(bench, 8)
    await forget(bench, endpoints[:6])
    janitor = await janitor_of(bench)
    for _ in range(3):
        await janitor.once()
    assert await left(bench) == set(endpoints)


async def test_an_environment_without_a_user_is_released(bench: Bench) -> None:
    end = bench.start_builder()
    endpoint = await bench.create(spec_of({}, ("numpy",)))
    await bench.until(endpoint, RolloutPhase.SUCCEEDED)
    await bench.update(endpoint, spec_of({}, ("scipy",)), 2)
    rollout = await bench.until(endpoint, RolloutPhase.SUCCEEDED, 2)
    await end()
    janitor = await janitor_of(bench)

    async def is_released() -> bool:
        await janitor.once()
        return [preparation.key for preparation in (await bench.snapshot()).preparations] == [rollout.environment_key]

    await eventually(is_released)
