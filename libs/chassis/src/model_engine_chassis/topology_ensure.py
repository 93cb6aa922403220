"""Applies the topology to a NATS server: every stream and durable consumer is made or brought up to date here only.

A service that declared streams by itself would overwrite the live configuration with its own idea of it.
"""

import logging
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError

from model_engine_contracts.topology import SERVICE_CONSUMERS, STREAMS, ConsumerSpec, StreamSpec

log = logging.getLogger(__name__)

STREAM_NAME_IN_USE = 10058

IMMUTABLE = ("retention", "storage")
RULES = ("subjects", "discard", "discard_new_per_subject", "allow_msg_ttl", "allow_direct", "description")
LIMITS = ("max_age", "max_bytes", "max_msgs_per_subject", "max_msg_size", "max_consumers", "duplicate_window")


class TopologyConflict(Exception):
    """A stream of this name is of another kind, and the server cannot change it."""


def stream_config(spec: StreamSpec) -> StreamConfig:
    """The server's form of a stream."""
    return StreamConfig(
        name=spec.name,
        description=spec.description,
        subjects=list(spec.subjects),
        retention=RetentionPolicy(spec.retention),
        storage=StorageType.FILE,
        discard=DiscardPolicy(spec.discard),
        discard_new_per_subject=spec.discard_new_per_subject,
        max_age=spec.max_age,
        max_bytes=spec.max_bytes,
        max_msgs=-1,
        max_msgs_per_subject=spec.max_msgs_per_subject,
        max_msg_size=spec.max_msg_size,
        max_consumers=spec.max_consumers,
        duplicate_window=spec.duplicate_window,
        allow_msg_ttl=spec.allow_msg_ttl,
        allow_direct=True,
        num_replicas=1,
    )


def consumer_config(spec: ConsumerSpec) -> ConsumerConfig:
    """The server's form of a durable pull consumer."""
    return ConsumerConfig(
        name=spec.durable,
        durable_name=spec.durable,
        filter_subjects=list(spec.subjects) if len(spec.subjects) > 1 else None,
        filter_subject=spec.subjects[0] if len(spec.subjects) == 1 else None,
        ack_policy=AckPolicy.EXPLICIT,
        deliver_policy=DeliverPolicy.ALL,
        ack_wait=spec.ack_wait,
        max_deliver=spec.max_deliver,
        max_ack_pending=spec.max_ack_pending,
        # Requests of all workers together. The server refuses to change it later, so a new value needs a new durable.
        max_waiting=2048,
    )


async def ensure_topology(js: JetStreamContext) -> None:
    """Make or update every stream and every service's durable. Safe to repeat and to run in several processes at once.

    A limit that is wider on the server than in the topology is kept: an older release that starts once more, or this
    one after an operator raised a limit, must not delete what was stored within it. Raises TopologyConflict, or
    nats.js.errors.Error when the server refuses or does not answer.
    """
    for stream in STREAMS:
        await _ensure_stream(js, stream)
    for consumer in SERVICE_CONSUMERS:
        await ensure_consumer(js, consumer)


async def _ensure_stream(js: JetStreamContext, spec: StreamSpec) -> None:
    wanted = stream_config(spec)
    try:
        live = (await js.stream_info(spec.name)).config
    except NotFoundError:
        live = await _make_stream(js, wanted)
    for name in IMMUTABLE:
        want, have = getattr(wanted, name), getattr(live, name)
        if want != have:
            raise TopologyConflict(
                f"stream {spec.name} has {name} {have!r}, which cannot become {want!r}. Delete the stream while no "
                "service runs; it is made again, and filled again from MongoDB."
            )
    if changes := stream_changes(wanted, live):
        before = {name: getattr(live, name) for name in changes}
        await js.update_stream(live.evolve(**changes))
        log.warning("stream updated", extra={"stream": spec.name, "before": before, "after": changes})


async def _make_stream(js: JetStreamContext, wanted: StreamConfig) -> StreamConfig:
    """The configuration that the stream has then: another process may have made it at the same time."""
    try:
        return (await js.add_stream(wanted)).config
    except APIError as error:
        if error.err_code != STREAM_NAME_IN_USE:
            raise
    return (await js.stream_info(str(wanted.name))).config


def stream_changes(wanted: StreamConfig, live: StreamConfig) -> dict[str, Any]:
    """The fields to change on the server, with their new values. Limits are widened only."""
    changes = {name: getattr(wanted, name) for name in RULES if getattr(wanted, name) != getattr(live, name)}
    for name in LIMITS:
        want, have = getattr(wanted, name), getattr(live, name)
        if _wider(want, have):
            changes[name] = want
    return changes


def _wider(want: float, have: float | None) -> bool:
    """Whether a limit admits more than another; nothing, 0 and -1 are no limit."""
    if not have or have < 0:
        return False
    return want <= 0 or want > have


async def ensure_consumer(js: JetStreamContext, spec: ConsumerSpec) -> None:
    """Make the durable, or update it to this configuration; what it has delivered so far is kept."""
    await js.add_consumer(spec.stream, consumer_config(spec))


async def delete_consumer(js: JetStreamContext, stream: str, durable: str) -> None:
    """Remove a durable; one that does not exist is what was wanted."""
    try:
        await js.delete_consumer(stream, durable)
    except NotFoundError:
        return
