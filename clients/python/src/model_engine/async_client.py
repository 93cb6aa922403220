"""The client for asyncio: the same methods as `client.Client`, awaited."""

import asyncio
import codecs
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Self

from model_engine import operations, procedures
from model_engine.bundling import Bundle, write_bundle
from model_engine.connection import Connection, resolve_connection
from model_engine.deployment import Deployment, EndpointSettings
from model_engine.errors import ConnectionLostError
from model_engine.history import HistoryEvent, read_event
from model_engine.results import prediction_value, streamed_value
from model_engine.retry import Retry, RetryPolicy
from model_engine.sse import SseDecoder
from model_engine.transport import AsyncTransport
from model_engine_contracts.api.api_keys import (
    ALL_SCOPES,
    AccessScope,
    ApiKeyResponse,
    CreateApiKeyRequest,
    CreateApiKeyResponse,
    RotateApiKeyRequest,
    RotateApiKeyResponse,
)
from model_engine_contracts.api.endpoints import (
    GetModelEndpointV1Response,
    ModelEndpointRevision,
    RollbackModelEndpointV1Response,
)
from model_engine_contracts.api.subscriptions import (
    CreateEventSubscriptionRequest,
    CreateEventSubscriptionResponse,
    EventDelivery,
    EventSubscriptionResponse,
)
from model_engine_contracts.api.tasks import (
    CancelAsyncTaskResponse,
    DeadLetterResponse,
    GetAsyncTaskV1Response,
    ListAsyncTasksResponse,
    ListDeadLettersResponse,
    TaskStatus,
)


class AsyncClient:
    """`Client` for asyncio: every method does and raises what its namesake there does."""

    def __init__(
        self,
        connection: Connection | None = None,
        *,
        policy: RetryPolicy | None = None,
        on_retry: Callable[[Retry], None] = lambda retry: None,
        on_worker: Callable[[str], None] | None = None,
    ) -> None:
        self._policy = policy or RetryPolicy()
        self._on_retry = on_retry
        self._transport = AsyncTransport(connection or resolve_connection(), self._policy, on_retry, on_worker)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def deploy(
        self, name: str, bundle: Bundle, settings: EndpointSettings | None = None
    ) -> GetModelEndpointV1Response:
        """Pickle and upload the bundle and make the endpoint `name` run it; do not wait for it."""
        with tempfile.TemporaryDirectory() as folder:
            artifact = Path(folder, "artifact")
            await asyncio.to_thread(write_bundle, artifact, bundle)
            deployment = Deployment(name, artifact, bundle, settings or EndpointSettings())
            return await self._transport.run(procedures.deploy(deployment))

    async def wait_until_ready(
        self,
        endpoint_id: str,
        timeout_seconds: float = 600,
        on_progress: procedures.OnProgress = lambda endpoint: None,
    ) -> GetModelEndpointV1Response:
        """Wait until the endpoint is READY; `on_progress` sees it at each change."""
        return await self._transport.run(procedures.wait_until_ready(endpoint_id, timeout_seconds, on_progress))

    async def endpoint(self, name_or_id: str) -> GetModelEndpointV1Response:
        """One endpoint by its name or id."""
        return await self._transport.run(procedures.find_endpoint(name_or_id))

    async def endpoints(self) -> list[GetModelEndpointV1Response]:
        """All endpoints of the caller."""
        return (await self._transport.send(operations.list_endpoints())).model_endpoints

    async def revisions(self, endpoint_id: str) -> list[ModelEndpointRevision]:
        """The last generations of an endpoint, newest first: what each asks for and what it changed."""
        return (await self._transport.send(operations.list_revisions(endpoint_id))).revisions

    async def rollback(self, endpoint_id: str, generation: int | None = None) -> RollbackModelEndpointV1Response:
        """Make an older generation the desired state again; do not wait for it.

        Without `generation` it is the last one that asked for something else than the current one.
        """
        return await self._transport.send(operations.rollback_endpoint(endpoint_id, generation))

    async def delete(self, endpoint_id: str, timeout_seconds: float = 60) -> None:
        """Delete an endpoint and wait until nothing of it is left; raises WaitTimeoutError."""
        await self._transport.run(procedures.delete_and_wait(endpoint_id, timeout_seconds))

    async def predict(
        self, endpoint_id: str, args: Any, *, timeout_seconds: float | None = None, repeatable: bool = False
    ) -> Any:
        """The value that the predict function of a sync endpoint gives for `args`; raises PredictionError."""
        request = operations.predict(endpoint_id, args, timeout_seconds=timeout_seconds, repeatable=repeatable)
        answer = await self._transport.send(request)
        return prediction_value(answer)

    async def stream(self, endpoint_id: str, args: Any, *, repeatable: bool = False) -> AsyncIterator[Any]:
        """The values that the predict function of a streaming endpoint yields for `args`, as they arrive."""
        async with self._transport.open(operations.stream(endpoint_id, args, repeatable=repeatable)) as chunks:
            decoder = SseDecoder()
            async for chunk in chunks:
                for frame in decoder.feed(chunk):
                    yield streamed_value(frame)

    async def submit(self, endpoint_id: str, args: Any) -> str:
        """Queue a task on an async endpoint and give its id. A broken connection is retried without a second task."""
        request = operations.submit_task(endpoint_id, args)
        return (await self._transport.send(request)).task_id

    async def task(self, task_id: str) -> GetAsyncTaskV1Response:
        """Where a task stands."""
        return await self._transport.send(operations.get_task(task_id))

    async def wait_for_task(self, task_id: str, timeout_seconds: float = 300) -> Any:
        """The value of a task once it has ended; raises PredictionError, WaitTimeoutError."""
        return prediction_value(await self._transport.run(procedures.wait_for_task(task_id, timeout_seconds)))

    async def tasks(
        self,
        *,
        endpoint_id: str | None = None,
        status: TaskStatus | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> ListAsyncTasksResponse:
        """A page of tasks, those submitted last first; its `next_cursor` asks for the next one."""
        return await self._transport.send(operations.list_tasks(endpoint_id, status, limit, cursor))

    async def cancel_task(self, task_id: str) -> CancelAsyncTaskResponse:
        """Cancel a task, whether it is queued or running; one that has ended stays as it is."""
        return await self._transport.send(operations.cancel_task(task_id))

    async def dead_letters(
        self, *, endpoint_id: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> ListDeadLettersResponse:
        """A page of failed tasks, those submitted last first."""
        return await self._transport.send(operations.list_dead_letters(endpoint_id, limit, cursor))

    async def dead_letter(self, task_id: str) -> DeadLetterResponse:
        """A failed task: its request, how often it was tried, and what went wrong last."""
        return await self._transport.send(operations.get_dead_letter(task_id))

    async def replay_dead_letter(self, task_id: str) -> int:
        """Queue a failed task again under its id; the number of the new attempt."""
        return (await self._transport.send(operations.replay_dead_letter(task_id))).attempt

    async def create_callback_secret(self) -> str:
        """Make the secret that signs callbacks from now on (Standard Webhooks); it is shown this once."""
        return (await self._transport.send(operations.create_callback_secret())).secret

    async def events(
        self, endpoint_id: str | None = None, *, after: str | None = None, follow: bool = True
    ) -> AsyncIterator[HistoryEvent]:
        """Every event, or those of one endpoint: what follows position `after`; with `follow` then what happens."""
        losses = 0
        while True:
            request = operations.events(endpoint_id, after, follow=follow)
            cause = "the event stream ended"
            try:
                async with self._transport.open(request) as chunks:
                    decoder = SseDecoder()
                    async for chunk in chunks:
                        losses = 0
                        for frame in decoder.feed(chunk):
                            event = read_event(frame)
                            after = event.position
                            yield event
                if not follow:
                    return
            except ConnectionLostError as error:
                cause = str(error)
            losses += 1
            if losses >= self._policy.attempts:
                raise ConnectionLostError(f"{cause}, {losses} times in a row.")
            delay = self._policy.backoff(losses)
            self._on_retry(Retry(request.method, request.path, losses + 1, delay, cause))
            await self._transport.pause(delay)

    async def logs(
        self, endpoint_id: str, source: operations.LogSource = "worker", *, follow: bool = False
    ) -> AsyncIterator[str]:
        """The log of an endpoint's build or of its workers, in pieces as they arrive."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        async with self._transport.open(operations.logs(endpoint_id, source, follow=follow)) as chunks:
            async for chunk in chunks:
                yield decoder.decode(chunk)

    async def create_api_key(
        self,
        owner: str,
        *,
        user: str | None = None,
        scopes: Sequence[AccessScope] = ALL_SCOPES,
        expires_in_seconds: int | None = None,
        privileged: bool = True,
    ) -> CreateApiKeyResponse:
        """Make a key for an owner; it is shown this once. Needs the administrator's token as the key.

        A key that is not `privileged` cannot create bundles with images of their own.
        """
        request = CreateApiKeyRequest(
            owner=owner,
            user=user,
            scopes=list(scopes),
            expires_in_seconds=expires_in_seconds,
            privileged=privileged,
        )
        return await self._transport.send(operations.create_api_key(request))

    async def rotate_api_key(
        self, key_id: str, *, overlap_seconds: int, expires_in_seconds: int | None = None
    ) -> RotateApiKeyResponse:
        """Make a key that takes this one's place, which ends after the overlap. Needs the administrator's token."""
        request = RotateApiKeyRequest(overlap_seconds=overlap_seconds, expires_in_seconds=expires_in_seconds)
        return await self._transport.send(operations.rotate_api_key(key_id, request))

    async def api_keys(self) -> list[ApiKeyResponse]:
        """All keys. Needs the administrator's token as the key."""
        return (await self._transport.send(operations.list_api_keys())).api_keys

    async def revoke_api_key(self, key_id: str) -> None:
        """Revoke a key. Needs the administrator's token as the key."""
        await self._transport.send(operations.revoke_api_key(key_id))

    async def create_subscription(
        self,
        url: str,
        *,
        types: list[str] | None = None,
        endpoint_id: str | None = None,
        after: int | None = None,
    ) -> CreateEventSubscriptionResponse:
        """Have events posted to `url`, signed with the secret of the answer, which is shown this once.

        `types` and `endpoint_id` narrow the events; `after` is a position to begin after, None: what happens next.
        """
        subscription = CreateEventSubscriptionRequest(url=url, types=types, endpoint_id=endpoint_id, after=after)
        return await self._transport.send(operations.create_subscription(subscription))

    async def subscriptions(self) -> list[EventSubscriptionResponse]:
        """All subscriptions of the caller."""
        return (await self._transport.send(operations.list_subscriptions())).event_subscriptions

    async def subscription(self, subscription_id: str) -> EventSubscriptionResponse:
        """One subscription: how far it is, and since when it fails."""
        return await self._transport.send(operations.get_subscription(subscription_id))

    async def delete_subscription(self, subscription_id: str) -> None:
        """Delete a subscription; nothing is posted any more."""
        await self._transport.send(operations.delete_subscription(subscription_id))

    async def test_subscription(self, subscription_id: str) -> EventDelivery:
        """Have a test event posted now; what became of it."""
        return await self._transport.send(operations.test_subscription(subscription_id))

    async def subscription_deliveries(self, subscription_id: str, limit: int = 50) -> list[EventDelivery]:
        """The last attempts to deliver events, newest first, 100 at most."""
        return (await self._transport.send(operations.list_deliveries(subscription_id, limit))).deliveries
