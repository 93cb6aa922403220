"""How a message that was not handled is answered: given back for later, or ended."""

from nats.aio.msg import Msg

from model_engine_chassis.retry import redelivery_delay

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
