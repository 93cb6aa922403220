"""Leases with a fencing epoch, in MongoDB: who leads, and proof against a leader that does not know it lost.

Time is the server's (`$$NOW`), so the clocks of the holders do not matter. The epoch rises whenever the lease is taken,
also by the same holder: a process that was killed and started again under its name need not wait for the end of its own
lease, and what is left of its former self is fenced. Who acts under a lease carries its epoch; older ones are refused.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client import Gauge
from pymongo.errors import DuplicateKeyError, PyMongoError

log = logging.getLogger(__name__)

LEASES = "leases"
RELEASE_SECONDS = 2.0

_LEADING = Gauge("modelengine_leading", "1 while this process holds the lease and does its work.", ["lease"])


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that was held when it was given. `ttl` in seconds."""

    name: str
    holder: str
    epoch: int
    ttl: float


class LeaseLost(Exception):
    """The lease is somebody else's now, or could not be renewed in time."""


class LeaseStore:
    """The leases of one database."""

    def __init__(self, database: Any) -> None:
        self._leases = database[LEASES]

    async def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        """Take the lease if it is free, expired or the holder's own; None while another holds it."""
        is_free = {"$lte": [{"$ifNull": ["$expires_at", "$$NOW"]}, "$$NOW"]}
        is_mine = {"$eq": ["$holder", holder]}
        epoch = {"$ifNull": ["$epoch", 0]}
        # One unconditional upsert: it changes nothing while another holds the lease, and says who does.
        is_taken = {"$or": [is_mine, is_free]}
        update = [
            {
                "$set": {
                    "epoch": {"$cond": [is_taken, {"$add": [epoch, 1]}, epoch]},
                    "holder": {"$cond": [is_taken, holder, "$holder"]},
                    "expires_at": {"$cond": [is_taken, {"$add": ["$$NOW", int(ttl * 1000)]}, "$expires_at"]},
                }
            }
        ]
        try:
            document = await self._leases.find_one_and_update({"_id": name}, update, upsert=True, return_document=True)
        except DuplicateKeyError:
            # Two first acquisitions at once: the other one inserted it.
            return None
        return Lease(name, holder, int(document["epoch"]), ttl) if document["holder"] == holder else None

    async def renew(self, lease: Lease) -> bool:
        """Prolong the lease by its ttl; False when it is not this holder's of this epoch any more."""
        result = await self._leases.update_one(
            {
                "_id": lease.name,
                "holder": lease.holder,
                "epoch": lease.epoch,
                "$expr": {"$gt": ["$expires_at", "$$NOW"]},
            },
            [{"$set": {"expires_at": {"$add": ["$$NOW", int(lease.ttl * 1000)]}}}],
        )
        return bool(result.matched_count)

    async def release(self, lease: Lease) -> None:
        """Give the lease back at once, so that the next one need not wait for its end."""
        await self._leases.update_one(
            {"_id": lease.name, "holder": lease.holder, "epoch": lease.epoch}, [{"$set": {"expires_at": "$$NOW"}}]
        )

    async def remove(self, name: str) -> None:
        """Forget a lease whose object is gone for good; its epochs begin anew."""
        await self._leases.delete_one({"_id": name})


async def lead(
    store: LeaseStore, name: str, holder: str, ttl: float, body: Callable[[Lease], Awaitable[None]], stop: asyncio.Event
) -> None:
    """Stand by until the lease is free, then run `body` while renewing it; when it is lost, cancel `body`, start over.

    Returns when `stop` is set, with the lease given back. An error of `body` is logged and the lease released, so that
    another process may do better; then this one stands by again.
    """
    while not stop.is_set():
        lease = await _try_acquire(store, name, holder, ttl)
        if lease is None:
            await _pause(stop, ttl / 4)
            continue
        log.info("lease taken", extra={"lease": name, "epoch": lease.epoch})
        _LEADING.labels(lease=name).set(1)
        try:
            await _hold(store, lease, body, stop)
        except* LeaseLost:
            log.warning("lease lost", extra={"lease": name, "epoch": lease.epoch})
        except* Exception:
            log.exception("the leader's work failed", extra={"lease": name})
        finally:
            # Also when cancelled: the next leader should not have to wait for the end of the lease.
            _LEADING.labels(lease=name).set(0)
            await _try_release(store, lease)
        if not stop.is_set():
            await _pause(stop, 0.5)


async def _hold(store: LeaseStore, lease: Lease, body: Callable[[Lease], Awaitable[None]], stop: asyncio.Event) -> None:
    """Run `body` under the lease until it ends, fails, `stop` is set, or the lease is lost."""
    async with asyncio.TaskGroup() as group:
        work = group.create_task(_run(body, lease))
        renewal = group.create_task(_renew(store, lease))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        work.cancel()
        renewal.cancel()


async def _run(body: Callable[[Lease], Awaitable[None]], lease: Lease) -> None:
    await body(lease)


async def _renew(store: LeaseStore, lease: Lease) -> None:
    """Renew three times per ttl; a database that does not answer is tolerated until the lease may have ended."""
    loop = asyncio.get_running_loop()
    valid_until = loop.time() + lease.ttl
    while True:
        await asyncio.sleep(lease.ttl / 3)
        asked_at = loop.time()
        try:
            async with asyncio.timeout(max(0.05, valid_until - asked_at)):
                renewed = await store.renew(lease)
        except (PyMongoError, TimeoutError) as error:
            if loop.time() >= valid_until:
                raise LeaseLost(lease.name) from error
            continue
        if not renewed:
            raise LeaseLost(lease.name)
        valid_until = asked_at + lease.ttl


async def _try_acquire(store: LeaseStore, name: str, holder: str, ttl: float) -> Lease | None:
    try:
        return await store.acquire(name, holder, ttl)
    except PyMongoError as error:
        log.warning("lease not readable", extra={"lease": name, "error": str(error)})
        return None


async def _try_release(store: LeaseStore, lease: Lease) -> None:
    try:
        async with asyncio.timeout(RELEASE_SECONDS):
            await store.release(lease)
    except (PyMongoError, TimeoutError) as error:
        log.warning("lease not released, it ends by itself", extra={"lease": lease.name, "error": repr(error)})


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds * random.uniform(0.75, 1.25)):  # noqa: S311  # jitter, not a secret
            await stop.wait()
    except TimeoutError:
        return
