"""Every query of the cache to Redis: one key per endpoint and the marker that says that all are there."""

from collections.abc import AsyncIterator, Mapping, Sequence

from pydantic import ValidationError
from redis.asyncio import Redis

from model_engine_contracts.events import EndpointObserved
from model_engine_contracts.observed import OBSERVED_COMPLETE, OBSERVED_PREFIX, observed_key

GONE_SECONDS = 600
"""How long the observation that an endpoint is gone stays, so that a stale leader cannot bring the endpoint back."""

PAGE = 500

# The comparison and the write are one step of the server, so two leaders at once cannot overwrite newer by older.
_WRITE_NEWER = """
local known = redis.call('GET', KEYS[1])
if known then
  local old = cjson.decode(known)
  local epoch, counter = tonumber(ARGV[1]), tonumber(ARGV[2])
  if old.epoch > epoch or (old.epoch == epoch and old.counter >= counter) then return 0 end
end
if tonumber(ARGV[4]) > 0 then
  redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[4])
else
  redis.call('SET', KEYS[1], ARGV[3])
end
return 1
"""


class ObservedRepository:
    """Observed state in Redis. Everything raises redis.exceptions.RedisError when Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._write_newer = redis.register_script(_WRITE_NEWER)

    async def write(self, observations: Sequence[EndpointObserved]) -> None:
        """Write each observation unless a newer one of its endpoint is there."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for observed in observations:
                ttl = GONE_SECONDS if observed.gone else 0
                text = observed.model_dump_json(exclude_none=True)
                await self._write_newer(
                    keys=[observed_key(observed.endpoint_id)],
                    args=[observed.epoch, observed.counter, text, ttl],
                    client=pipe,
                )
            await pipe.execute()

    async def read_all(self) -> Mapping[str, EndpointObserved]:
        """Every endpoint that is not known to be gone; what cannot be read counts as absent."""
        observations: dict[str, EndpointObserved] = {}
        async for keys in self._pages():
            for value in await self._redis.mget(keys):
                if (observed := _parse(value)) is not None and not observed.gone:
                    observations[observed.endpoint_id] = observed
        return observations

    async def complete_epoch(self) -> int | None:
        """The epoch of the leader that wrote every endpoint last; None when the state is not complete."""
        value = await self._redis.get(OBSERVED_COMPLETE)
        return int(value) if value is not None else None

    async def mark_complete(self, epoch: int) -> None:
        """Say that every endpoint has been written by the leader of this epoch."""
        await self._redis.set(OBSERVED_COMPLETE, epoch)

    async def _pages(self) -> AsyncIterator[list[str]]:
        keys: list[str] = []
        async for key in self._redis.scan_iter(match=f"{OBSERVED_PREFIX}*", count=PAGE):
            keys.append(key)
            if len(keys) == PAGE:
                yield keys
                keys = []
        if keys:
            yield keys


def _parse(value: str | bytes | None) -> EndpointObserved | None:
    if value is None:
        return None
    try:
        return EndpointObserved.model_validate_json(value)
    except ValidationError:
        return None
