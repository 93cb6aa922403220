"""The task queues of async endpoints: one durable each, made before the workers that bind to it."""

import json
from dataclasses import dataclass, field

from nats.aio.client import Client as Nats
from nats.js.errors import APIError, NotFoundError

from model_engine_chassis.topology_ensure import delete_consumer, ensure_consumer, ensure_topology
from model_engine_contracts.subjects import task_subject
from model_engine_contracts.topology import TASKS, ConsumerSpec, task_durable

CALL_SECONDS = 5.0
STREAM_NOT_FOUND = 10059


@dataclass(slots=True)
class Queues:
    """`known` are the durables that exist; None before they were listed. Errors are those of nats.errors."""

    nats: Nats
    known: set[str] | None = field(default=None)

    def exists(self, endpoint_id: str) -> bool | None:
        """Whether the endpoint's durable is there; None while that is not known."""
        return None if self.known is None else task_durable(endpoint_id) in self.known

    async def ensure(self, spec: ConsumerSpec) -> None:
        """Make the durable or bring it up to date; makes the streams when they are lost."""
        js = self.nats.jetstream()
        try:
            await ensure_consumer(js, spec)
        except NotFoundError:
            await ensure_topology(js)
            await ensure_consumer(js, spec)
        if self.known is not None:
            self.known.add(spec.durable)

    async def remove(self, endpoint_id: str) -> None:
        """Remove the durable and every task in the queue."""
        js = self.nats.jetstream()
        try:
            await delete_consumer(js, TASKS.name, task_durable(endpoint_id))
            await js.purge_stream(TASKS.name, subject=task_subject(endpoint_id))
        except NotFoundError:
            pass  # the stream is lost, and the queue with it
        if self.known is not None:
            self.known.discard(task_durable(endpoint_id))

    async def refresh(self) -> None:
        """List the durables; makes the streams when they are lost."""
        names: set[str] = set()
        while True:
            request = json.dumps({"offset": len(names)}).encode()
            reply = await self.nats.request(f"$JS.API.CONSUMER.NAMES.{TASKS.name}", request, timeout=CALL_SECONDS)
            page = json.loads(reply.data)
            if (error := page.get("error")) is not None:
                if error.get("err_code") != STREAM_NOT_FOUND:
                    raise APIError(code=error.get("code"), description=error.get("description"))
                await ensure_topology(self.nats.jetstream())
                break
            names |= set(page["consumers"] or ())
            if not page["consumers"] or len(names) >= page["total"]:
                break
        self.known = names
