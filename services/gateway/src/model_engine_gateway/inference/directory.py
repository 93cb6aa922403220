"""What a request must know of its endpoint, held in memory: one read of MongoDB per change, none per request."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic

from model_engine_contracts.documents import EndpointDocument
from model_engine_contracts.endpoint_states import EndpointType, Phase
from model_engine_contracts.failures import Reason
from model_engine_gateway.errors import ApiError
from model_engine_gateway.hooks.plan import EndpointHooks, endpoint_hooks

log = logging.getLogger(__name__)

HELD_SECONDS = 30.0
"""An entry is read again after this time even when no event told of a change."""

READ_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class EndpointInfo:
    """The part of an endpoint's document that requests are decided by.

    `hopeless`: without a ready worker none will come, so waiting for one is pointless.
    """

    id: str
    owner: str
    endpoint_type: EndpointType
    public: bool
    hopeless: bool
    task_expires_seconds: int | None
    queue_message_timeout_seconds: int | None
    hooks: EndpointHooks | None


LoadEndpoint = Callable[[str], Awaitable[EndpointDocument | None]]


def endpoint_info(document: EndpointDocument) -> EndpointInfo | None:
    """The facts of a document, or None when it is going away."""
    if document.deletion_requested or document.tombstone:
        return None
    status, spec = document.status, document.spec
    crashing = status.failure is not None and status.failure.code is Reason.CRASH_LOOP
    never_worked = status.serving_generation is None
    return EndpointInfo(
        id=document.id,
        owner=document.owner,
        endpoint_type=spec.endpoint_type,
        public=spec.public_inference,
        hopeless=spec.scaling.max_workers == 0 or (status.phase is Phase.FAILED and (never_worked or crashing)),
        task_expires_seconds=spec.task_expires_seconds,
        queue_message_timeout_seconds=spec.queue_message_timeout_seconds,
        hooks=endpoint_hooks(document),
    )


@dataclass(slots=True)
class _Held:
    info: EndpointInfo
    fresh_until: float


class EndpointDirectory:
    """A cache of endpoints by id. `load` reads the primary."""

    def __init__(self, load: LoadEndpoint) -> None:
        self._load = load
        self._held: dict[str, _Held] = {}
        self._loading: dict[str, asyncio.Task[EndpointInfo | None]] = {}

    async def find(self, endpoint_id: str, owner: str) -> EndpointInfo:
        """The endpoint as `owner` may use it.

        Raises ApiError: 404 where it does not exist or is not theirs to call, 503 while it cannot be read.
        """
        info = await self.get(endpoint_id)
        if info is None or not (info.public or info.owner == owner):
            raise ApiError(404, "The specified endpoint could not be found.", "endpoint_not_found")
        return info

    async def get(self, endpoint_id: str) -> EndpointInfo | None:
        """The endpoint, or None. Without the database a held entry serves on, else ApiError 503 is raised."""
        held = self._held.get(endpoint_id)
        if held is not None and monotonic() < held.fresh_until:
            return held.info
        loading = self._loading.get(endpoint_id)
        if loading is None:
            loading = self._loading[endpoint_id] = asyncio.create_task(self._read(endpoint_id))
            loading.add_done_callback(_retrieve)
        try:
            return await asyncio.shield(loading)
        except Exception as error:  # whatever the database raises
            if held is None:
                raise ApiError(
                    503,
                    "Endpoints cannot be read at the moment. Please retry.",
                    "database_unavailable",
                    {"retry-after": "1"},
                ) from error
            log.warning("an endpoint could not be read again: %r", error, extra={"endpoint_id": endpoint_id})
            held.fresh_until = monotonic() + 1.0
            return held.info

    def invalidate(self, endpoint_id: str) -> None:
        """The endpoint changed: the next request reads it again, and a reading under way counts no more."""
        if (held := self._held.get(endpoint_id)) is not None:
            held.fresh_until = 0.0
        self._loading.pop(endpoint_id, None)

    async def _read(self, endpoint_id: str) -> EndpointInfo | None:
        this = asyncio.current_task()
        try:
            async with asyncio.timeout(READ_SECONDS):
                document = await self._load(endpoint_id)
            info = endpoint_info(document) if document is not None else None
            if self._loading.get(endpoint_id) is this:
                if info is None:
                    self._held.pop(endpoint_id, None)
                else:
                    self._held[endpoint_id] = _Held(info, monotonic() + HELD_SECONDS)
            return info
        finally:
            if self._loading.get(endpoint_id) is this:
                del self._loading[endpoint_id]


def _retrieve(loading: asyncio.Task[EndpointInfo | None]) -> None:
    """Look at the error even when every request that waited for it is gone."""
    if not loading.cancelled():
        loading.exception()
