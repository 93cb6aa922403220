"""The depth of every task queue from one request to JetStream, and the age of the oldest task of a few."""

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import nats.errors
from nats.js import JetStreamContext
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from model_engine_contracts.subjects import TASK_ROOT, task_subject
from model_engine_contracts.topology import TASKS

log = logging.getLogger(__name__)

AGES_PER_TICK = 50
"""Reading an age costs one request each, so no more than this many queues per tick are asked."""


async def read_backlogs(js: JetStreamContext) -> Mapping[str, int] | None:
    """Queued tasks and those being worked on, by endpoint id; None when they could not be read.

    A work queue keeps a message until it is acknowledged, so the count of a subject includes the tasks in flight.
    """
    try:
        info = await js.stream_info(TASKS.name, subjects_filter=f"{TASK_ROOT}.*")
    except (nats.errors.Error, JetStreamError, TimeoutError) as error:
        log.warning("backlogs unknown, every async endpoint keeps its workers", extra={"error": repr(error)})
        return None
    prefix = len(TASK_ROOT) + 1
    return {subject[prefix:]: count for subject, count in (info.state.subjects or {}).items()}


async def read_oldest_ages(js: JetStreamContext, endpoint_ids: Iterable[str]) -> dict[str, float]:
    """Seconds since the oldest message of each queue was stored, for at most AGES_PER_TICK queues."""
    ages = {}
    for endpoint_id in list(endpoint_ids)[:AGES_PER_TICK]:
        try:
            message = await js.get_msg(TASKS.name, seq=1, subject=task_subject(endpoint_id), next=True)
        except NotFoundError:
            continue
        except (nats.errors.Error, JetStreamError, TimeoutError):
            break
        if message.time is not None:
            ages[endpoint_id] = max(0.0, (datetime.now(UTC) - message.time).total_seconds())
    return ages
