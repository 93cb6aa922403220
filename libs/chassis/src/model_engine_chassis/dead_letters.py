"""Dead letters: messages that no consumer could process, read from the server's advisories about them.

Advisories: io.nats.jetstream.advisory.v1.max_deliver and io.nats.jetstream.advisory.v1.terminated.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from model_engine_chassis.puller import PermanentError, Puller
from model_engine_contracts.topology import STREAMS, ConsumerSpec

WINDOW = 16
WORK_QUEUES = frozenset(spec.name for spec in STREAMS if spec.retention == "workqueue")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that `consumer` of `stream` gave up after so many deliveries. `reason` is None when they ran out.

    `subject` and `data` are None when the stream does not hold the message any more: a work queue drops a terminated
    one at once.
    """

    stream: str
    consumer: str
    sequence: int
    deliveries: int
    reason: str | None = None
    subject: str | None = None
    data: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


async def watch_dead_letters(
    nats_client: Nats, spec: ConsumerSpec, handler: Callable[[DeadLetter], Awaitable[None]], stop: asyncio.Event
) -> None:
    """Let `handler` see every dead letter until `stop` is set; `spec` is a durable of the stream DLQ.

    The handler must be idempotent; when it raises, the dead letter comes again later. Once it returned, the message is
    deleted from a work queue, where it would count as waiting for ever.
    """
    js = nats_client.jetstream()

    async def on_advisory(message: Msg) -> None:
        letter = await _read(js, message.data)
        await handler(letter)
        if letter.data is not None and letter.stream in WORK_QUEUES:
            await _delete(js, letter)

    puller = Puller(
        nats_client,
        stream=spec.stream,
        durable=spec.durable,
        handler=on_advisory,
        window=WINDOW,
        ack_wait=spec.ack_wait,
    )
    await puller.run(stop)


def parse_advisory(raw: bytes) -> DeadLetter:
    """What the advisory itself says. Raises PermanentError when it is not one."""
    try:
        advisory = json.loads(raw)
        return DeadLetter(
            stream=advisory["stream"],
            consumer=advisory["consumer"],
            sequence=int(advisory["stream_seq"]),
            deliveries=int(advisory["deliveries"]),
            reason=advisory.get("reason"),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise PermanentError(f"not an advisory: {error!r}") from error


async def _read(js: JetStreamContext, raw: bytes) -> DeadLetter:
    letter = parse_advisory(raw)
    try:
        stored = await js.get_msg(letter.stream, letter.sequence)
    except NotFoundError:
        return letter
    return DeadLetter(
        stream=letter.stream,
        consumer=letter.consumer,
        sequence=letter.sequence,
        deliveries=letter.deliveries,
        reason=letter.reason,
        subject=stored.subject,
        data=stored.data or b"",
        headers=stored.headers or {},
    )


async def _delete(js: JetStreamContext, letter: DeadLetter) -> None:
    try:
        await js.delete_msg(letter.stream, letter.sequence)
    except NotFoundError:
        return
