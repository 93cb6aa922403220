"""A builder that kills itself at a point that the test names: CRASH_AT is a phase that it must not remember."""

import os
import signal

from model_engine_builder.app import Builder
from model_engine_builder.domain.rollout import Rollout
from model_engine_builder.repository import RolloutRepository
from model_engine_builder.settings import BuilderSettings
from model_engine_chassis.lifecycle import run


class CrashingRollouts(RolloutRepository):
    """What was to be told is told by now; nothing of it is remembered yet."""

    async def save(self, rollout: Rollout) -> None:
        point = rollout.phase.value
        if point == "PREPARING" and rollout.environment_key is None:
            point = "BEGUN"
        if point == os.environ["CRASH_AT"]:
            os.kill(os.getpid(), signal.SIGKILL)
        await super().save(rollout)


def build(settings: BuilderSettings) -> Builder:
    """A builder with a weak heart."""
    return Builder(settings, open_rollouts=CrashingRollouts)


if __name__ == "__main__":
    run("builder", BuilderSettings, build)
