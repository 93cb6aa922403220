"""The queues of async tasks in JetStream: every call to the streams TASKS and RESULTS but pulling."""

import asyncio
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Any

import nats.errors
from nats.js.errors import NotFoundError

from model_engine_chassis import trace
from model_engine_chassis.publish import publish_task
from model_engine_chassis.topology_ensure import ensure_topology
from model_engine_contracts.subjects import TASK_ROOT, task_subject
from model_engine_contracts.topology import GATEWAY_RESULTS, RESULTS, TASKS
from model_engine_gateway.clock import now
from model_engine_gateway.result_addresses import ResultAddresses
from model_engine_gateway.tasks.task import Task, TaskRef, message_ttl, submission

PUBLISH_SECONDS = 2.0
STREAM_SECONDS = 2.0
UPLOAD_MARGIN_SECONDS = 3600.0
LOOKUPS_AT_ONCE = 32
RESULTS_POLL_SECONDS = 0.1

Unavailable = (nats.errors.Error, TimeoutError)
"""What calls raise when JetStream does not answer or refuses."""


class TaskQueue:
    """Publishes and finds messages of tasks."""

    def __init__(self, nats_client: Any, addresses: ResultAddresses | None = None) -> None:
        self._nats = nats_client
        self._js = nats_client.jetstream()
        self._addresses = addresses
        self._stream = ""
        self._stream_known = (-1, 0.0)

    @property
    def max_request_bytes(self) -> int:
        """The largest request that surely fits into one message of this server."""
        return (int(self._nats.max_payload) - 8192) // 2

    async def stream(self) -> str:
        """The name of this life of the stream: another one after its store was lost. A missing stream is made anew.

        It is asked for again after two seconds, and at once after a new connection. Raises one of Unavailable.
        """
        connections, until = self._stream_known
        if connections == self._nats.stats["reconnects"] and monotonic() < until:
            return self._stream
        connections = self._nats.stats["reconnects"]
        try:
            info = await self._js.stream_info(TASKS.name)
        except NotFoundError:
            await ensure_topology(self._js)
            info = await self._js.stream_info(TASKS.name)
        self._stream = info.created.isoformat()
        self._stream_known = (connections, monotonic() + STREAM_SECONDS)
        return self._stream

    async def publish(self, task: Task) -> int:
        """Queue the task's current attempt and return its sequence; one that is queued already is found again.

        Raises QueueFull, or one of Unavailable: then the message may be queued or not.
        """
        if not self._nats.is_connected:
            raise nats.errors.ConnectionReconnectingError
        with trace.use(task.traceparent):
            acknowledged = await publish_task(
                self._js,
                submission(task, self._upload_url(task)),
                ttl=message_ttl(task, now()),
                timeout=PUBLISH_SECONDS,
            )
        return int(acknowledged.seq)

    def _upload_url(self, task: Task) -> str | None:
        """Where a worker may send the task's result, in any attempt: as long as its message may be in the queue."""
        if self._addresses is None:
            return None
        return self._addresses.upload(task.id, message_ttl(task, now()) + UPLOAD_MARGIN_SECONDS)

    async def depths(self) -> Mapping[str, int]:
        """Messages per endpoint, those at workers included. Raises one of Unavailable."""
        info = await self._js.stream_info(TASKS.name, subjects_filter=f"{TASK_ROOT}.*")
        prefix = len(TASK_ROOT) + 1
        return {subject[prefix:]: count for subject, count in (info.state.subjects or {}).items()}

    async def without_message(self, tasks: Iterable[TaskRef]) -> list[TaskRef]:
        """Those of these tasks whose message is not in the queue any more. Raises one of Unavailable."""
        turns = asyncio.Semaphore(LOOKUPS_AT_ONCE)

        async def is_missing(task: TaskRef) -> bool:
            async with turns:
                return not await self._holds(task)

        asked = list(tasks)
        missing = await asyncio.gather(*(is_missing(task) for task in asked))
        return [task for task, gone in zip(asked, missing, strict=True) if gone]

    async def remove(self, task: TaskRef) -> None:
        """Take the task's message out of the queue, if it is there. Raises one of Unavailable."""
        if task.sequence is not None and await self._holds(task):
            await self.remove_sequence(task.sequence)

    async def remove_sequence(self, sequence: int) -> None:
        """Take one message out of the queue. Raises one of Unavailable."""
        try:
            await self._js.delete_msg(TASKS.name, sequence)
        except NotFoundError:
            return

    async def purge(self, endpoint_id: str) -> None:
        """Empty the queue of an endpoint. Raises one of Unavailable."""
        await self._js.purge_stream(TASKS.name, subject=task_subject(endpoint_id))

    async def results_are_read(self, deadline_seconds: float) -> bool:
        """Whether, within the deadline, every report that workers have published until now is in the database."""
        last = (await self._js.stream_info(RESULTS.name)).state.last_seq
        until = asyncio.get_running_loop().time() + deadline_seconds
        while asyncio.get_running_loop().time() < until:
            info = await self._js.consumer_info(RESULTS.name, GATEWAY_RESULTS.durable)
            idle = not info.num_pending and not info.num_ack_pending
            if idle or info.ack_floor.stream_seq >= last:
                return True
            await asyncio.sleep(RESULTS_POLL_SECONDS)
        return False

    async def _holds(self, task: TaskRef) -> bool:
        """Whether the message at the task's sequence is the one of this attempt: a store that lost its end after a
        crash gives the same sequences to other tasks."""
        try:
            message = await self._js.get_msg(TASKS.name, seq=task.sequence, direct=True)
        except NotFoundError:
            return False
        return (message.headers or {}).get("Nats-Msg-Id") == f"{task.id}:{task.attempt}"
