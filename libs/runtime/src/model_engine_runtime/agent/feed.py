"""The watch: every change as a numbered message, the latest state of each thing only, and a heartbeat."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from nats import errors as nats_errors
from nats.aio.client import Client as Nats

from model_engine_contracts.ids import new_id
from model_engine_runtime.agent.engine import Engine
from model_engine_runtime.protocol import Gone, Preparation, SetState, Snapshot
from model_engine_runtime.wire import (
    HEARTBEAT_SECONDS,
    SNAPSHOT_PART_BYTES,
    Numbered,
    SnapshotPart,
    encode,
    subject,
)

log = logging.getLogger(__name__)


class Changes:
    """What has changed and was not said yet; bounded by the number of things there are."""

    def __init__(self) -> None:
        self._pending: dict[tuple[str, str], None] = {}
        self.wake = asyncio.Event()

    def endpoint(self, endpoint_id: str) -> None:
        """The workers of an endpoint have changed."""
        self._mark("endpoint", endpoint_id)

    def preparation(self, key: str) -> None:
        """An environment has changed."""
        self._mark("preparation", key)

    def gone(self, name: str) -> None:
        """Nothing is left of an endpoint's workers or of an environment."""
        self._mark("gone", name)

    def take(self) -> tuple[str, str] | None:
        """The oldest one, as kind and name."""
        if not self._pending:
            self.wake.clear()
            return None
        oldest = next(iter(self._pending))
        del self._pending[oldest]
        return oldest

    def _mark(self, kind: str, name: str) -> None:
        self._pending[kind, name] = None
        self.wake.set()


class Feed:
    """Publishes the changes of an engine. The incarnation tells the numbers of one agent process from another's."""

    def __init__(self, agent: str, engine: Engine, changes: Changes) -> None:
        self._subject = subject(agent, "watch")
        self._engine, self._changes = engine, changes
        self._incarnation = new_id("inc")
        self._number = 0

    async def run(self, nats: Nats) -> None:
        """Publish as long as the agent runs."""
        loop = asyncio.get_running_loop()
        heartbeat_at = loop.time()
        while True:
            while (change := self._changes.take()) is not None:
                if (message := self._message(*change)) is not None:
                    await self._publish(nats, message)
            if loop.time() >= heartbeat_at:
                await self._publish(nats, Numbered(self._incarnation, self._number))
                heartbeat_at = loop.time() + HEARTBEAT_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(heartbeat_at):
                    await self._changes.wake.wait()

    def snapshot(self) -> Iterator[SnapshotPart]:
        """All that holds up to the present number, in parts that fit into messages."""
        whole, number = self._engine.snapshot(), self._number
        return _parts(whole, self._incarnation, number)

    def _message(self, kind: str, name: str) -> Numbered | None:
        if kind == "endpoint" and (workers := self._engine.endpoints.get(name)) is not None:
            message = Numbered(self._incarnation, self._number + 1, set=workers.state)
        elif kind == "preparation" and (known := self._engine.preparations.known.get(name)) is not None:
            message = Numbered(self._incarnation, self._number + 1, preparation=known)
        elif kind == "gone":
            message = Numbered(self._incarnation, self._number + 1, gone=Gone(name))
        else:
            return None
        self._number += 1
        return message

    async def _publish(self, nats: Nats, message: Numbered) -> None:
        try:
            await nats.publish(self._subject, encode(message))
        except (nats_errors.Error, OSError) as error:
            # Those who watch see the gap in the numbers and ask for a snapshot.
            log.warning("a change was not published", extra={"error": str(error) or repr(error)})


def _parts(whole: Snapshot, incarnation: str, number: int) -> Iterator[SnapshotPart]:
    sets: list[SetState] = []
    preparations: list[Preparation] = []
    size = 0
    items: tuple[SetState | Preparation, ...] = (*whole.sets, *whole.preparations)
    for item in items:
        if size >= SNAPSHOT_PART_BYTES:
            yield SnapshotPart(incarnation, number, whole.installation, tuple(sets), tuple(preparations), last=False)
            sets, preparations, size = [], [], 0
        if isinstance(item, SetState):
            sets.append(item)
        else:
            preparations.append(item)
        size += len(encode(item))
    yield SnapshotPart(incarnation, number, whole.installation, tuple(sets), tuple(preparations), last=True)
