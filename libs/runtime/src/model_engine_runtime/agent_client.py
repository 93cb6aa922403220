"""The driver of the agent: the Runtime protocol as requests over NATS."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from nats import errors as nats_errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from model_engine_runtime.errors import InvalidRequest, RuntimeUnavailable
from model_engine_runtime.protocol import Change, Environment, Preparation, Snapshot, WorkerSet
from model_engine_runtime.wire import (
    SILENCE_SECONDS,
    Delete,
    LogPiece,
    LogRead,
    Numbered,
    Release,
    Scale,
    SnapshotPart,
    decode,
    decode_reply,
    encode,
    subject,
)

CALL_SECONDS = 5.0
MESSAGES_HELD = 1024
"""Beyond it the NATS client holds messages, and then drops some: a gap, so a new snapshot."""

T = TypeVar("T")


class AgentRuntime:
    """Speaks to the agent of this name. The NATS connection stays the caller's."""

    def __init__(self, nats: Nats, agent: str = "local") -> None:
        self._nats = nats
        self._agent = agent

    async def prepare(self, environment: Environment) -> Preparation:
        """See Runtime.prepare."""
        return await self._call("prepare", environment, Preparation)

    async def release(self, key: str) -> None:
        """See Runtime.release."""
        await self._call("release", Release(key), object)

    async def apply(self, want: WorkerSet) -> None:
        """See Runtime.apply."""
        await self._call("apply", want, object)

    async def scale(self, endpoint_id: str, replicas: int, epoch: int) -> None:
        """See Runtime.scale."""
        await self._call("scale", Scale(endpoint_id, replicas, epoch), object)

    async def delete(self, endpoint_id: str, generation: int) -> None:
        """See Runtime.delete."""
        await self._call("delete", Delete(endpoint_id, generation), object)

    async def watch(self) -> AsyncGenerator[Snapshot | Change, None]:
        """See Runtime.watch. Subscribes before it asks for the snapshot, so that nothing falls between."""
        async with self._messages(subject(self._agent, "watch")) as changes:
            incarnation, number, snapshot = await self._snapshot()
            yield snapshot
            while True:
                message = await _next(changes, "the agent's watch")
                numbered = decode(Numbered, message.data)
                known = numbered.incarnation == incarnation
                change = numbered.set or numbered.preparation or numbered.gone
                if known and change is not None and numbered.number == number + 1:
                    number += 1
                    yield change
                elif not known or numbered.number > number:
                    incarnation, number, snapshot = await self._snapshot()
                    yield snapshot

    async def logs(
        self, target: str, worker: str | None = None, previous: bool = False, follow: bool = False
    ) -> AsyncGenerator[str, None]:
        """See Runtime.logs. Reads piece by piece, so a slow reader slows nobody else."""
        read = LogRead(target, worker, previous, follow, {})
        while True:
            piece = await self._call("logs", read, LogPiece)
            if piece.text:
                yield piece.text
            if piece.end:
                return
            read = LogRead(target, worker, previous, follow, piece.positions)

    async def _call(self, call: str, argument: object, answer: type[T]) -> T:
        name = subject(self._agent, call)
        try:
            reply = await self._nats.request(name, encode(argument), timeout=CALL_SECONDS)
        except nats_errors.MaxPayloadError as error:
            raise InvalidRequest(
                f"{call}: larger than a message of NATS may be ({self._nats.max_payload} B)"
            ) from error
        except nats_errors.NoRespondersError as error:
            raise RuntimeUnavailable(f"no agent named {self._agent!r} is connected to NATS") from error
        except (nats_errors.Error, TimeoutError, OSError) as error:
            raise RuntimeUnavailable(
                f"{call}: no answer of the agent {self._agent!r} ({error or 'timeout'})"
            ) from error
        return decode_reply(answer, reply.data)

    async def _snapshot(self) -> tuple[str, int, Snapshot]:
        inbox = self._nats.new_inbox()
        parts: list[SnapshotPart] = []
        async with self._messages(inbox) as replies:
            await self._nats.publish(subject(self._agent, "snapshot"), b"", reply=inbox)
            while not parts or not parts[-1].last:
                message = await _next(replies, "a snapshot of the agent")
                if not message.data and (message.headers or {}).get("Status") == "503":
                    raise RuntimeUnavailable(f"no agent named {self._agent!r} is connected to NATS")
                parts.append(decode_reply(SnapshotPart, message.data))
        first = parts[0]
        snapshot = Snapshot(
            installation=first.installation,
            sets=tuple(state for part in parts for state in part.sets),
            preparations=tuple(state for part in parts for state in part.preparations),
        )
        return first.incarnation, first.number, snapshot

    @asynccontextmanager
    async def _messages(self, name: str) -> AsyncIterator[asyncio.Queue[Msg]]:
        """The messages of a subject. Subscription.next_msg would do but for Python 3.11, where it may lose a
        cancellation (asyncio.wait_for swallows one that meets a result).
        """
        messages: asyncio.Queue[Msg] = asyncio.Queue(MESSAGES_HELD)
        try:
            subscription = await self._nats.subscribe(name, cb=messages.put)
            try:
                yield messages
            finally:
                await subscription.unsubscribe()
        except nats_errors.Error as error:
            raise RuntimeUnavailable(f"no connection to the agent {self._agent!r}: {error}") from error


async def _next(messages: asyncio.Queue[Msg], what: str) -> Msg:
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            return await messages.get()
    except TimeoutError as error:
        raise RuntimeUnavailable(f"{what} is silent for {SILENCE_SECONDS:g} s") from error
