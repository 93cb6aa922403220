"""From the runtime's watch to Redis and to events, through the loss of everything."""

from dataclasses import replace

from nats.js.errors import NotFoundError

from model_engine_cache.domain import Observations
from model_engine_cache.repository import ObservedRepository
from model_engine_contracts.failures import Reason
from model_engine_contracts.observed import OBSERVED_COMPLETE, observed_key
from model_engine_contracts.topology import EVENTS
from model_engine_local.servers import NatsServer, ValkeyServer
from model_engine_local.testing import eventually
from model_engine_runtime.protocol import Failure, SetState, Worker, WorkerState

from .conftest import Bench

READY = Worker("w1", "r1", WorkerState.READY, "127.0.0.1:4000")
DEAD = replace(READY, state=WorkerState.BACKOFF, address=None, failure=Failure(Reason.OUT_OF_MEMORY, "killed", 137))
ONE = SetState("end_1", generation=1, revision="r1", replicas=1, workers=(READY,))
TWO = replace(ONE, endpoint_id="end_2")


async def shows(bench: Bench, endpoint_id: str, state: WorkerState) -> bool:
    observed = await bench.observed(endpoint_id)
    return observed is not None and [worker.state for worker in observed.workers] == [state.value]


async def is_complete(bench: Bench) -> bool:
    return await bench.redis.get(OBSERVED_COMPLETE) is not None


async def test_changes_reach_redis_and_the_stream(bench: Bench) -> None:
    bench.runtime.sets = {"end_1": ONE}
    bench.start()
    await eventually(lambda: is_complete(bench))
    assert await shows(bench, "end_1", WorkerState.READY)
    bench.runtime.put(replace(ONE, workers=(DEAD,)))
    await eventually(lambda: shows(bench, "end_1", WorkerState.BACKOFF))

    async def is_told() -> bool:
        [lost] = await bench.facts("lost")
        assert (lost.data.worker_id, lost.data.failure.code, lost.data.failure.exit_code) == (
            "w1",
            Reason.OUT_OF_MEMORY,
            137,
        )
        observed = [fact.data for fact in await bench.facts("observed")]
        assert [fact.workers[0].state for fact in observed] == ["READY", "BACKOFF"]
        assert (observed[0].epoch, observed[0].counter) < (observed[1].epoch, observed[1].counter)
        return True

    await eventually(is_told)


async def test_an_endpoint_that_goes_is_said_to_be_gone(bench: Bench) -> None:
    bench.runtime.sets = {"end_1": ONE}
    bench.start()
    await eventually(lambda: is_complete(bench))
    bench.runtime.remove("end_1")

    async def is_gone() -> bool:
        observed = await bench.observed("end_1")
        assert observed is not None
        assert observed.gone
        assert [fact.data.gone for fact in await bench.facts("observed")] == [False, True]
        assert len(await bench.facts("lost")) == 1
        return True

    await eventually(is_gone)
    # It stays for a while only: long enough to refuse what a stale leader may still write.
    assert 0 < await bench.redis.ttl(observed_key("end_1")) <= 600


async def test_what_changed_while_the_runtime_was_away_is_told_at_once_when_it_is_back(bench: Bench) -> None:
    bench.runtime.sets = {"end_1": ONE, "end_2": TWO}
    bench.start()
    await eventually(lambda: is_complete(bench))
    bench.runtime.take_away()
    assert await shows(bench, "end_1", WorkerState.READY)  # held
    del bench.runtime.sets["end_2"]
    bench.runtime.sets["end_1"] = replace(ONE, workers=(DEAD,))
    bench.runtime.away = False
    await eventually(lambda: shows(bench, "end_1", WorkerState.BACKOFF))

    async def is_gone() -> bool:
        observed = await bench.observed("end_2")
        return observed is not None and observed.gone

    await eventually(is_gone)


async def test_a_flushed_redis_is_filled_again(bench: Bench) -> None:
    bench.runtime.sets = {"end_1": ONE, "end_2": TWO}
    bench.start()
    await eventually(lambda: is_complete(bench))
    told = len(await bench.facts())
    await bench.redis.flushall()
    await eventually(lambda: is_complete(bench))
    assert await shows(bench, "end_1", WorkerState.READY)
    assert await shows(bench, "end_2", WorkerState.READY)
    assert len(await bench.facts()) == told  # nothing has changed for anybody else


async def test_a_lost_stream_is_made_and_told_everything_again(bench: Bench) -> None:
    bench.runtime.sets = {"end_1": ONE}
    bench.start()
    await eventually(lambda: is_complete(bench))
    await eventually(lambda: bench.facts("observed"))
    await bench.nats.jetstream().delete_stream(EVENTS.name)

    async def is_told() -> bool:
        try:
            return [fact.data.endpoint_id for fact in await bench.facts("observed")] == ["end_1"]
        except NotFoundError:
            return False

    await eventually(is_told)


async def test_while_redis_is_down_only_the_latest_waits(bench: Bench, valkey_server: ValkeyServer) -> None:
    bench.runtime.sets = {"end_1": ONE}
    bench.start()
    await eventually(lambda: is_complete(bench))
    valkey_server.kill()
    for restarts in range(5):
        bench.runtime.put(replace(ONE, workers=(replace(DEAD, restarts=restarts),)))

    async def is_told() -> bool:
        return (await bench.facts("observed"))[-1].data.workers[0].restarts == 4

    await eventually(is_told)
    valkey_server.start()

    async def is_written() -> bool:
        observed = await bench.observed("end_1")
        return observed is not None and observed.workers[0].restarts == 4

    await eventually(is_written, timeout=20)
    await eventually(lambda: is_complete(bench), timeout=20)


async def test_while_nats_is_down_redis_is_kept(bench: Bench, nats_server: NatsServer) -> None:
    bench.runtime.sets = {"end_1": ONE}
    bench.start()
    await eventually(lambda: is_complete(bench))
    await eventually(lambda: bench.facts("observed"))
    nats_server.kill()
    bench.runtime.put(replace(ONE, workers=(DEAD,)))
    await eventually(lambda: shows(bench, "end_1", WorkerState.BACKOFF))
    nats_server.start()

    async def is_told() -> bool:
        lost = await bench.facts("lost")
        return [fact.data.worker_id for fact in lost] == ["w1"]

    await eventually(is_told, timeout=30)


async def test_a_standby_takes_over_and_tells_what_its_predecessor_may_not_have(bench: Bench) -> None:
    bench.runtime.sets = {"end_1": ONE, "end_2": TWO}
    end = bench.start("first")
    await eventually(lambda: is_complete(bench))
    await eventually(lambda: bench.facts("observed"))
    first = await bench.observed("end_1")
    bench.start("second")
    assert len(bench.runtime.watchers) == 1  # a standby does not watch
    bench.runtime.sets = {"end_1": replace(ONE, workers=(DEAD,))}  # which the first one does not see any more
    await end()

    async def has_taken_over() -> bool:
        observed, gone = await bench.observed("end_1"), await bench.observed("end_2")
        assert first is not None
        assert observed is not None
        assert gone is not None
        assert observed.epoch > first.epoch
        assert await shows(bench, "end_1", WorkerState.BACKOFF)
        assert gone.gone
        assert await bench.redis.get(OBSERVED_COMPLETE) == str(observed.epoch)
        return True

    await eventually(has_taken_over)

    async def is_told() -> bool:
        return {fact.data.endpoint_id for fact in await bench.facts("lost")} == {"end_1", "end_2"}

    await eventually(is_told)


async def test_a_stale_leader_overwrites_nothing(bench: Bench) -> None:
    repository = ObservedRepository(bench.redis)
    newer, older = Observations(epoch=5).record(ONE), Observations(epoch=4).record(replace(ONE, workers=(DEAD,)))
    assert newer is not None
    assert older is not None
    await repository.write([newer])
    await repository.write([older])
    assert await bench.observed("end_1") == newer
