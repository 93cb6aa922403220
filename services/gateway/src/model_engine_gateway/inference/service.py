"""The data plane assembled: two ASGI routes and what runs behind them."""

import asyncio
from time import monotonic
from typing import Any

from model_engine_chassis.upstream import UpstreamPool
from model_engine_gateway.inference.demand import DemandMeter
from model_engine_gateway.inference.directory import EndpointDirectory, LoadEndpoint
from model_engine_gateway.inference.dispatch import Dispatcher
from model_engine_gateway.inference.feed import Feed
from model_engine_gateway.inference.hold import HoldQueue
from model_engine_gateway.inference.routes import RouteTable
from model_engine_gateway.inference.routing import Authenticator, Gate, Intake, Route
from model_engine_gateway.inference.settings import InferenceSettings
from model_engine_gateway.inference.streaming_tasks import StreamingTasks
from model_engine_gateway.inference.sync_tasks import Hooks, SyncTasks
from model_engine_gateway.inference.wakes import Wakes
from model_engine_gateway.result_addresses import ResultAddresses


class Inference:
    """`sync_tasks` and `streaming_tasks` are ASGI callables; they serve while `run` runs.

    `load_endpoint` reads an endpoint's document from the primary; `results` is where workers may store pickles;
    `hooks` runs what follows sync calls.
    `intake` and `wakes` serve async tasks too.
    """

    def __init__(
        self,
        settings: InferenceSettings,
        *,
        nats: Any,
        redis: Any,
        principals: Authenticator,
        load_endpoint: LoadEndpoint,
        hooks: Hooks,
        results: ResultAddresses | None = None,
    ) -> None:
        self.hold = HoldQueue(
            max_requests=settings.hold_max_requests,
            max_bytes=settings.hold_max_bytes,
            max_total_bytes=settings.hold_max_total_bytes,
        )
        self.routes = RouteTable(self.hold.notify)
        self.directory = EndpointDirectory(load_endpoint)
        demand = DemandMeter(monotonic())
        self.wakes = Wakes(nats, settings.instance_id, demand, self.routes.has_worker)
        self._pool = UpstreamPool(
            max_connections=settings.worker_connections,
            connect_timeout=settings.connect_timeout_seconds,
            head_timeout=settings.max_timeout_seconds,
            idle_timeout=settings.stream_idle_seconds,
        )
        self.feed = Feed(nats, redis, self.routes, self.directory, self.hold)
        self.intake = Intake(principals, self.directory, settings, results)
        dispatcher = Dispatcher(self.routes, self.directory, self.hold, demand, self.wakes, self._pool)
        gate = Gate(settings.max_predictions)
        self.sync_tasks = Route(
            "sync", "POST", SyncTasks(self.intake, dispatcher, hooks, settings.max_response_bytes), gate
        )
        self.streaming = StreamingTasks(self.intake, dispatcher)
        self.streaming_tasks = Route("streaming", "POST", self.streaming, gate)

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the route table, send wake-ups and reports until cancelled.

        When `stop` is set, held requests are sent away (503 with retry-after: no worker has seen them); those at
        workers go on, and so does this, until the server has drained.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.feed.run())
                tasks.create_task(self.wakes.run())
                await stop.wait()
                self.hold.close()
        finally:
            self._pool.close()
