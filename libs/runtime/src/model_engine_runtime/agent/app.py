"""Composition root of the agent."""

import asyncio
import logging
from dataclasses import dataclass

from model_engine_chassis.health import Health, serve_health
from model_engine_chassis.lifecycle import run_until
from model_engine_chassis.nats_connection import connect
from model_engine_runtime.agent.backend import Backend
from model_engine_runtime.agent.engine import Engine
from model_engine_runtime.agent.feed import Changes, Feed
from model_engine_runtime.agent.log_reading import LogReader
from model_engine_runtime.agent.preparations import Preparations
from model_engine_runtime.agent.process.backend import ProcessBackend
from model_engine_runtime.agent.server import Server
from model_engine_runtime.agent.settings import AgentSettings
from model_engine_runtime.agent.simulated import SimulatedBackend
from model_engine_runtime.agent.store import Store

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Agent:
    """The service. Workers live on when it ends; the next one adopts them."""

    settings: AgentSettings

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set. Workers are looked after while NATS cannot be reached, too."""
        settings = self.settings
        store = Store(settings.agent_data_dir)
        store.open()
        changes = Changes()
        backend = open_backend(settings)
        preparations = Preparations(
            settings.agent_data_dir,
            backend,
            settings.agent_parallel_builds,
            changed=changes.preparation,
            gone=changes.gone,
        )
        engine = Engine(store, backend, preparations, changed=changes.endpoint, gone=changes.gone)
        engine.load()
        feed = Feed(settings.agent_name, engine, changes)
        server = Server(settings.agent_name, engine, feed, LogReader(engine, backend))
        health = Health()
        health.add_check("calls", server.check)
        try:
            await run_until(
                stop,
                engine.run(),
                self._serve(engine, feed, server),
                serve_health(health, settings.health_host, settings.health_port, stop),
            )
        finally:
            store.close()

    async def _serve(self, engine: Engine, feed: Feed, server: Server) -> None:
        nats = await connect(self.settings, "agent")
        await engine.settle()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(feed.run(nats))
                tasks.create_task(server.run(nats))
        finally:
            await nats.drain()


def open_backend(settings: AgentSettings) -> Backend:
    """The backend that the settings name."""
    if settings.agent_backend == "simulated":
        return SimulatedBackend()
    return ProcessBackend(settings)


def build(settings: AgentSettings) -> Agent:
    """The agent of Model Engine: owns the lives of workers on one host."""
    return Agent(settings)
