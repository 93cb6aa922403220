"""How a message is answered once its handling has ended: given back for later, or ended for good."""

import logging
from collections.abc import Awaitable

import nats.errors
from nats.aio.msg import Msg

from model_engine_chassis.retry import redelivery_delay

log = logging.getLogger(__name__)

REASON_CHARACTERS = 200


async def retry_later(message: Msg) -> float:
    """Give the message back, to come again after `redelivery_delay`; returns those seconds.

    Without a delay it would come back at once: the server's own backoff is for lost acknowledgements only.
    """
    delay = redelivery_delay(message.metadata.num_delivered)
    await message.nak(delay=delay)
    return delay


async def terminate(message: Msg, reason: str) -> None:
    """End the deliveries of the message. The server's advisory about it, a dead letter, carries the reason."""
    line = " ".join(reason.split())[:REASON_CHARACTERS]
    await message._client.publish(message.reply, b"+TERM " + line.encode())


async def settle(acknowledgement: Awaitable[object], durable: str) -> None:
    """Send an acknowledgement. One that cannot be sent is logged: the message comes again after the `ack_wait`."""
    try:
        await acknowledgement
    except nats.errors.Error as error:
        log.warning("acknowledgement not sent", extra={"durable": durable, "error": repr(error)})
