"""What is remembered is fenced by the lease under which it was written."""

from datetime import datetime
from typing import Any

import pytest

from model_engine_builder.clock import now
from model_engine_builder.domain.rollout import Rollout, RolloutPhase, Serving
from model_engine_builder.errors import LeaseSuperseded
from model_engine_builder.repository import RolloutRepository

from .conftest import spec_of


def rollout(epoch: int, phase: RolloutPhase = RolloutPhase.PREPARING, since: datetime | None = None) -> Rollout:
    serving = Serving(generation=1, revision="r", environment_key="old", spec=spec_of({"a": 2**70}))
    return Rollout(
        endpoint_id="end_1",
        generation=2,
        phase=phase,
        since=since or now(),
        environment_key="new",
        serving=serving,
        lease_epoch=epoch,
    )


async def test_what_is_written_is_what_is_read(mongo_db: Any) -> None:
    rollouts, written = RolloutRepository(mongo_db), rollout(1)
    await rollouts.save(written)
    assert await rollouts.find("end_1") == written
    assert await rollouts.environment_keys() == {"new", "old"}
    assert await rollouts.endpoints_in("new") == await rollouts.endpoints_in("old") == ["end_1"]


async def test_an_older_lease_replaces_nothing(mongo_db: Any) -> None:
    rollouts = RolloutRepository(mongo_db)
    await rollouts.save(rollout(7, RolloutPhase.ROLLING_OUT))
    with pytest.raises(LeaseSuperseded):
        await rollouts.save(rollout(6, RolloutPhase.FAILED))
    for phase in (RolloutPhase.SUCCEEDED, RolloutPhase.FAILED):
        await rollouts.save(rollout(7, phase))
    found = await rollouts.find("end_1")
    assert found is not None
    assert found.phase is RolloutPhase.FAILED
