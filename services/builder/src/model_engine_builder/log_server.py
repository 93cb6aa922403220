"""Answers requests for logs over core NATS by reading them through the runtime (protocol: contracts/logs.py)."""

import asyncio
import logging
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import NoReturn

import nats.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from prometheus_client import Gauge
from pydantic import ValidationError
from pymongo.errors import PyMongoError

from model_engine_builder.repository import RolloutRepository
from model_engine_contracts.logs import END_HEADER, ERROR_HEADER, KEEPALIVE_SECONDS, LOG_QUEUE_GROUP, LogRequest
from model_engine_contracts.subjects import logs_subject
from model_engine_runtime.errors import RuntimeProtocolError, UnknownEndpoint
from model_engine_runtime.protocol import Runtime

log = logging.getLogger(__name__)

FRAME_BYTES = 128 << 10

STREAMS = Gauge("modelengine_builder_log_streams", "Logs that are being read.")


class ReaderGone(Exception):
    """Nobody listens on the reply subject any more."""


@dataclass(slots=True)
class LogServer:
    """Serves `max_streams` readers at once, each for `max_seconds` at most; further ones get an error."""

    nats: Nats
    runtime: Runtime
    rollouts: RolloutRepository
    max_streams: int
    max_seconds: float
    streams: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set."""
        async with asyncio.TaskGroup() as tasks:

            async def take(message: Msg) -> None:
                if len(self.streams) >= self.max_streams:
                    await self._end(message.reply, f"{self.max_streams} logs are being read already; try again")
                    return
                stream = tasks.create_task(self.serve(message.data, message.reply))
                self.streams.add(stream)
                stream.add_done_callback(self.streams.discard)

            subscription = await self.nats.subscribe(logs_subject("*"), queue=LOG_QUEUE_GROUP, cb=take)
            await stop.wait()
            await subscription.unsubscribe()
            for stream in list(self.streams):
                stream.cancel()

    async def serve(self, raw: bytes, reply: str) -> None:
        """Answer one request, until the log or its reader is at an end."""
        STREAMS.inc()
        try:
            request = LogRequest.model_validate_json(raw)
            async with asyncio.timeout(self.max_seconds):
                await self._stream(request, reply)
        except ValidationError as error:
            await self._end(reply, f"unreadable request: {error}")
        except UnknownEndpoint:
            await self._end(reply, "there is no such log (yet)")
        except (RuntimeProtocolError, PyMongoError) as error:
            await self._end(reply, str(error))
        except TimeoutError:
            await self._end(reply, f"a log is read for {self.max_seconds:g} s at most; ask again")
        except ReaderGone:
            pass
        except nats.errors.Error as error:
            log.warning("log not delivered", extra={"error": repr(error)})
        else:
            await self._end(reply)
        finally:
            STREAMS.dec()

    async def _stream(self, request: LogRequest, reply: str) -> None:
        name = request.endpoint_id
        if request.source == "build":
            rollout = await self.rollouts.find(request.endpoint_id)
            if rollout is None or rollout.environment_key is None:
                raise UnknownEndpoint(request.endpoint_id)
            name = rollout.environment_key
        copying = asyncio.create_task(self._copy(name, request, reply))
        looking = asyncio.create_task(self._look_after(reply))
        try:
            done, _ = await asyncio.wait({copying, looking}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            copying.cancel()
            looking.cancel()
            await asyncio.gather(copying, looking, return_exceptions=True)

    async def _copy(self, name: str, request: LogRequest, reply: str) -> None:
        async with aclosing(self.runtime.logs(name, request.worker, request.previous, request.follow)) as texts:
            async for text in texts:
                data = text.encode()
                for start in range(0, len(data), FRAME_BYTES):
                    await self.nats.publish(reply, data[start : start + FRAME_BYTES])

    async def _look_after(self, reply: str) -> NoReturn:
        """Make sure now and then that somebody still reads. Raises ReaderGone."""
        while True:
            await asyncio.sleep(KEEPALIVE_SECONDS)
            try:
                await self.nats.request(reply, b"", timeout=1.0)
            except nats.errors.NoRespondersError as error:
                raise ReaderGone from error
            except nats.errors.TimeoutError:
                continue  # it listens, and need not answer

    async def _end(self, reply: str, problem: str | None = None) -> None:
        headers = {END_HEADER: "true"} | ({ERROR_HEADER: " ".join(problem.split())} if problem else {})
        try:
            await self.nats.publish(reply, b"", headers=headers)
        except nats.errors.Error as error:
            log.warning("log not ended", extra={"error": repr(error)})
