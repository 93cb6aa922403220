"""How many tasks wait or run at async endpoints, from one request to JetStream."""

import asyncio
import logging
from collections.abc import Sequence

import nats.errors
from nats.js import JetStreamContext
from nats.js.errors import Error as JetStreamError

from model_engine_contracts.documents import EndpointDocument
from model_engine_contracts.endpoint_states import EndpointType
from model_engine_contracts.subjects import TASK_ROOT, task_subject
from model_engine_contracts.topology import TASKS

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 1.0


async def read_queue_depths(js: JetStreamContext, endpoints: Sequence[EndpointDocument]) -> dict[str, int]:
    """The depth of each async endpoint by its id; empty where JetStream does not answer."""
    ids = [endpoint.id for endpoint in endpoints if endpoint.spec.endpoint_type is EndpointType.ASYNC]
    if not ids:
        return {}
    wanted = task_subject(ids[0]) if len(ids) == 1 else f"{TASK_ROOT}.*"
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            info = await js.stream_info(TASKS.name, subjects_filter=wanted)
    except (nats.errors.Error, JetStreamError, TimeoutError) as error:
        log.warning("queue depths unknown: %r", error)
        return {}
    subjects = info.state.subjects or {}
    return {endpoint_id: subjects.get(task_subject(endpoint_id), 0) for endpoint_id in ids}
