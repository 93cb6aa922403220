"""What keeps the route table true: events as they happen, and Redis at the start and now and then."""

import asyncio
import logging
from typing import Any

from pydantic import ValidationError
from redis.exceptions import RedisError

from model_engine_chassis.follow import follow_events
from model_engine_contracts.events import EndpointDeleted, EndpointObserved, Event
from model_engine_contracts.observed import OBSERVED_COMPLETE, OBSERVED_PREFIX
from model_engine_contracts.subjects import facts, history
from model_engine_gateway.inference.directory import EndpointDirectory
from model_engine_gateway.inference.hold import HoldQueue
from model_engine_gateway.inference.routes import RouteTable

log = logging.getLogger(__name__)

RESYNC_SECONDS = 30.0
"""The whole of Redis is read this often, so that no lost event is missed for longer."""

INCOMPLETE_SECONDS = 0.5
"""While the cache is still writing Redis, it is read this often."""

KEYS_PER_READ = 200

SUBJECTS = (
    facts("endpoint", "observed"),
    *(
        history(aggregate="endpoint", verb=verb)
        for verb in ("requested", "updated", "deletion-requested", "status-changed", "deleted")
    ),
)


class Feed:
    """Feeds the table of workers and tells the directory which endpoints changed."""

    def __init__(
        self, nats: Any, redis: Any, routes: RouteTable, directory: EndpointDirectory, hold: HoldQueue
    ) -> None:
        self._nats = nats
        self._redis = redis
        self._routes = routes
        self._directory = directory
        self._hold = hold
        self.following = asyncio.Event()
        """Set once events are followed: from then on no change is missed."""

    async def run(self) -> None:
        """Follow the events until cancelled. Redis is read once that has begun, so nothing falls between."""
        never = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                follow_events(self._nats, subjects=SUBJECTS, handler=self.handle, stop=never, started=self.following)
            )
            tasks.create_task(self._resync())

    async def handle(self, event: Event[Any]) -> None:
        """Take over one event."""
        match event.data:
            case EndpointObserved():
                self._routes.observe(event.data)
            case EndpointDeleted(endpoint_id=endpoint_id):
                self._routes.forget(endpoint_id)
                self._changed(endpoint_id)
            case data:
                self._changed(data.endpoint_id)

    def _changed(self, endpoint_id: str) -> None:
        self._directory.invalidate(endpoint_id)
        self._hold.notify(endpoint_id)

    async def _resync(self) -> None:
        await self.following.wait()
        failing = False
        while True:
            pause = INCOMPLETE_SECONDS
            try:
                if await self.read_redis():
                    pause = RESYNC_SECONDS
                failing = False
            except RedisError as error:
                if not failing:
                    log.warning("observed state cannot be read, events alone are followed: %r", error)
                failing = True
            await asyncio.sleep(pause)

    async def read_redis(self) -> bool:
        """Take over every observed set in Redis; True when the cache had written all of them. Raises RedisError."""
        complete = await self._redis.get(OBSERVED_COMPLETE) is not None
        keys: list[str] = []
        async for key in self._redis.scan_iter(match=f"{OBSERVED_PREFIX}*", count=KEYS_PER_READ):
            keys.append(key)
            if len(keys) == KEYS_PER_READ:
                await self._take(keys)
                keys = []
        if keys:
            await self._take(keys)
        return complete

    async def _take(self, keys: list[str]) -> None:
        for key, value in zip(keys, await self._redis.mget(keys), strict=True):
            if value is None:
                continue
            try:
                self._routes.observe(EndpointObserved.model_validate_json(value))
            except ValidationError as error:
                log.error("unreadable observed state skipped", extra={"key": key, "error": str(error)})
