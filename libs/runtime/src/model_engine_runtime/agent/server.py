"""The calls of the Runtime protocol as NATS request and reply."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from nats import errors as nats_errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from model_engine_runtime.agent.engine import Engine
from model_engine_runtime.agent.feed import Feed
from model_engine_runtime.agent.log_reading import LogReader
from model_engine_runtime.errors import RuntimeProtocolError, RuntimeUnavailable
from model_engine_runtime.protocol import Environment, WorkerSet
from model_engine_runtime.wire import Delete, LogRead, Release, Scale, decode, encode_error, encode_ok, subject

log = logging.getLogger(__name__)

CALLS_AT_ONCE = 256
FLUSH_SECONDS = 2

Handler = Callable[[bytes], Awaitable[bytes]]


class NotServing(Exception):
    """The agent takes no calls now."""


class Server:
    """Answers calls, many at once and each in a task of its own."""

    def __init__(self, agent: str, engine: Engine, feed: Feed, logs: LogReader) -> None:
        self._agent, self._engine, self._feed, self._logs = agent, engine, feed, logs
        self._slots = asyncio.Semaphore(CALLS_AT_ONCE)
        self._nats: Nats | None = None

    async def check(self) -> None:
        """Raises NotServing where a call would not be answered."""
        if self._nats is None:
            raise NotServing("not connected to NATS yet")
        await self._nats.flush(FLUSH_SECONDS)

    async def run(self, nats: Nats) -> None:
        """Serve as long as the agent runs."""
        handlers: dict[str, Handler] = {
            "prepare": self._prepare,
            "release": self._release,
            "apply": self._apply,
            "scale": self._scale,
            "delete": self._delete,
            "logs": self._read_log,
        }
        async with asyncio.TaskGroup() as tasks:
            for call, handler in handlers.items():

                async def take(message: Msg, handler: Handler = handler) -> None:
                    await self._slots.acquire()
                    tasks.create_task(self._answer(message, handler))

                await nats.subscribe(subject(self._agent, call), cb=take)
            await nats.subscribe(subject(self._agent, "snapshot"), cb=self._snapshot)
            await nats.flush()
            self._nats = nats
            log.info("serving", extra={"agent": self._agent})
            await asyncio.Event().wait()

    async def _answer(self, message: Msg, handler: Handler) -> None:
        try:
            reply = await handler(message.data)
        except RuntimeProtocolError as error:
            reply = encode_error(error)
        except OSError as error:
            log.error("a call failed", extra={"subject": message.subject, "error": str(error)})
            reply = encode_error(RuntimeUnavailable(f"the agent cannot write: {error}"))
        finally:
            self._slots.release()
        await _respond(message, reply)

    async def _snapshot(self, message: Msg) -> None:
        for part in self._feed.snapshot():
            await _respond(message, encode_ok(part))

    async def _prepare(self, raw: bytes) -> bytes:
        return encode_ok(await self._engine.prepare(decode(Environment, raw)))

    async def _release(self, raw: bytes) -> bytes:
        await self._engine.release(decode(Release, raw).key)
        return encode_ok()

    async def _apply(self, raw: bytes) -> bytes:
        await self._engine.apply(decode(WorkerSet, raw))
        return encode_ok()

    async def _scale(self, raw: bytes) -> bytes:
        scale = decode(Scale, raw)
        await self._engine.scale(scale.endpoint_id, scale.replicas, scale.epoch)
        return encode_ok()

    async def _delete(self, raw: bytes) -> bytes:
        delete = decode(Delete, raw)
        await self._engine.delete(delete.endpoint_id, delete.generation)
        return encode_ok()

    async def _read_log(self, raw: bytes) -> bytes:
        return encode_ok(await self._logs.read(decode(LogRead, raw)))


async def _respond(message: Msg, reply: bytes) -> None:
    try:
        await message.respond(reply)
    except (nats_errors.Error, OSError) as error:
        # The caller times out and asks again.
        log.warning("an answer was not sent", extra={"subject": message.subject, "error": str(error) or repr(error)})
