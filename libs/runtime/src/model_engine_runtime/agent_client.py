"""The driver of the agent: the Runtime protocol as requests over NATS."""

from collections.abc import AsyncGenerator
from typing import TypeVar

from nats import errors as nats_errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

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
        changes = await self._nats.subscribe(subject(self._agent, "watch"))
        try:
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
        finally:
            await _unsubscribe(changes)

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
        replies = await self._nats.subscribe(inbox)
        try:
            await self._nats.publish(subject(self._agent, "snapshot"), b"", reply=inbox)
            parts: list[SnapshotPart] = []
            while not parts or not parts[-1].last:
                message = await _next(replies, "a snapshot of the agent")
                if not message.data and (message.headers or {}).get("Status") == "503":
                    raise RuntimeUnavailable(f"no agent named {self._agent!r} is connected to NATS")
                parts.append(decode_reply(SnapshotPart, message.data))
        except nats_errors.Error as error:
            raise RuntimeUnavailable(f"no snapshot of the agent {self._agent!r}: {error}") from error
        finally:
            await _unsubscribe(replies)
        first = parts[0]
        snapshot = Snapshot(
            installation=first.installation,
            sets=tuple(state for part in parts for state in part.sets),
            preparations=tuple(state for part in parts for state in part.preparations),
        )
        return first.incarnation, first.number, snapshot


async def _next(subscription: Subscription, what: str) -> Msg:
    try:
        return await subscription.next_msg(timeout=SILENCE_SECONDS)
    except (TimeoutError, nats_errors.Error) as error:
        raise RuntimeUnavailable(f"nothing of {what} for {SILENCE_SECONDS:g} s: {error or 'silence'}") from error


async def _unsubscribe(subscription: Subscription) -> None:
    try:
        await subscription.unsubscribe()
    except nats_errors.Error:
        return  # the connection is closed, and the subscription with it
