"""A service for the tests of the lifecycle: python lifecycle_service.py; BEHAVIOUR says what it does."""

import asyncio
import logging
import os

from pydantic import Field

from model_engine_chassis import lifecycle
from model_engine_chassis.lifecycle import run, run_until
from model_engine_chassis.settings_base import ServiceSettings, SettingsError

log = logging.getLogger("example")
lifecycle.GRACE_SECONDS = 0.2


class ExampleSettings(ServiceSettings):
    """Settings of the example."""

    color: str = Field(description="its colour")
    size: int = Field(default=1, ge=1, description="its size")


class Example:
    """Runs in the way that BEHAVIOUR names."""

    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour

    async def run(self, stop: asyncio.Event) -> None:
        """Say that it runs, and what happens at the end."""
        await run_until(stop, self.background(), serving=[self.serve(stop)])
        log.info("stopped")

    async def background(self) -> None:
        """What serving needs until the end of its drain."""
        try:
            if self.behaviour == "fail":
                raise RuntimeError("the background work failed")
            await asyncio.Event().wait()
        finally:
            log.info("background ended")

    async def serve(self, stop: asyncio.Event) -> None:
        """Drain after `stop`."""
        log.info("running")
        await stop.wait()
        if self.behaviour == "hang":
            await asyncio.Event().wait()
        log.info("drained")


def build(settings: ExampleSettings) -> Example:
    """An example of a service."""
    if settings.color == "odd":
        raise SettingsError(["ME_COLOR does not fit to ME_SIZE"])
    return Example(os.environ.get("BEHAVIOUR", ""))


run("example", ExampleSettings, build)
