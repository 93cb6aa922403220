"""The blocking client: deploy, call and watch endpoints."""

import codecs
import tempfile
from collections.abc import Callable, Iterator, Sequence
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
from model_engine.transport import Transport
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


class Client:
    """A client of one gateway. Without `connection` it is found as `connection.resolve_connection` says.

    `on_retry` hears of every retry before its wait, `on_worker` which worker each answer comes from. Every method
    raises the errors of `model_engine.errors`. A client may be shared by threads; close it, or use it in a `with`
    statement.
    """

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
        self._transport = Transport(connection or resolve_connection(), self._policy, on_retry, on_worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def deploy(self, name: str, bundle: Bundle, settings: EndpointSettings | None = None) -> GetModelEndpointV1Response:
        """Pickle and upload the bundle and make the endpoint `name` run it; do not wait for it."""
        with tempfile.TemporaryDirectory() as folder:
            artifact = Path(folder, "artifact")
            write_bundle(artifact, bundle)
            deployment = Deployment(name, artifact, bundle, settings or EndpointSettings())
            return self._transport.run(procedures.deploy(deployment))

    def wait_until_ready(
        self,
        endpoint_id: str,
        timeout_seconds: float = 600,
        on_progress: procedures.OnProgress = lambda endpoint: None,
    ) -> GetModelEndpointV1Response:
        """Wait until the endpoint is READY; `on_progress` sees it at each change.

        Raises EndpointFailedError with the endpoint's status_reason, WaitTimeoutError.
        """
        return self._transport.run(procedures.wait_until_ready(endpoint_id, timeout_seconds, on_progress))

    def endpoint(self, name_or_id: str) -> GetModelEndpointV1Response:
        """One endpoint by its name or id."""
        return self._transport.run(procedures.find_endpoint(name_or_id))

    def endpoints(self) -> list[GetModelEndpointV1Response]:
        """All endpoints of the caller."""
        return self._transport.send(operations.list_endpoints()).model_endpoints

    def revisions(self, endpoint_id: str) -> list[ModelEndpointRevision]:
        """The last generations of an endpoint, newest first: what each asks for and what it changed."""
        return self._transport.send(operations.list_revisions(endpoint_id)).revisions

    def rollback(self, endpoint_id: str, generation: int | None = None) -> RollbackModelEndpointV1Response:
        """Make an older generation the desired state again; do not wait for it.

        Without `generation` it is the last one that asked for something else than the current one.
        """
        return self._transport.send(operations.rollback_endpoint(endpoint_id, generation))

    def delete(self, endpoint_id: str, timeout_seconds: float = 60) -> None:
        """Delete an endpoint and wait until nothing of it is left; raises WaitTimeoutError."""
        self._transport.run(procedures.delete_and_wait(endpoint_id, timeout_seconds))

    def predict(
        self, endpoint_id: str, args: Any, *, timeout_seconds: float | None = None, repeatable: bool = False
    ) -> Any:
        """The value that the predict function of a sync endpoint gives for `args`; raises PredictionError.

        `timeout_seconds` is a deadline for the gateway, waiting for a worker included. `repeatable`: a second run of
        the same prediction does no harm, so it may be sent again when the connection broke.
        """
        request = operations.predict(endpoint_id, args, timeout_seconds=timeout_seconds, repeatable=repeatable)
        return prediction_value(self._transport.send(request))

    def stream(self, endpoint_id: str, args: Any, *, repeatable: bool = False) -> Iterator[Any]:
        """The values that the predict function of a streaming endpoint yields for `args`, as they arrive.

        Raises PredictionError when it fails, also after the first values. `repeatable`: as for `predict`, as long as
        the stream has not begun; after that it is never repeated.
        """
        with self._transport.open(operations.stream(endpoint_id, args, repeatable=repeatable)) as chunks:
            decoder = SseDecoder()
            for chunk in chunks:
                for frame in decoder.feed(chunk):
                    yield streamed_value(frame)

    def submit(self, endpoint_id: str, args: Any) -> str:
        """Queue a task on an async endpoint and give its id. A broken connection is retried without a second task."""
        return self._transport.send(operations.submit_task(endpoint_id, args)).task_id

    def task(self, task_id: str) -> GetAsyncTaskV1Response:
        """Where a task stands."""
        return self._transport.send(operations.get_task(task_id))

    def wait_for_task(self, task_id: str, timeout_seconds: float = 300) -> Any:
        """The value of a task once it has ended; raises PredictionError, WaitTimeoutError."""
        return prediction_value(self._transport.run(procedures.wait_for_task(task_id, timeout_seconds)))

    def tasks(
        self,
        *,
        endpoint_id: str | None = None,
        status: TaskStatus | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> ListAsyncTasksResponse:
        """A page of tasks, those submitted last first; its `next_cursor` asks for the next one."""
        return self._transport.send(operations.list_tasks(endpoint_id, status, limit, cursor))

    def cancel_task(self, task_id: str) -> CancelAsyncTaskResponse:
        """Cancel a task, whether it is queued or running; one that has ended stays as it is."""
        return self._transport.send(operations.cancel_task(task_id))

    def dead_letters(
        self, *, endpoint_id: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> ListDeadLettersResponse:
        """A page of failed tasks, those submitted last first."""
        return self._transport.send(operations.list_dead_letters(endpoint_id, limit, cursor))

    def dead_letter(self, task_id: str) -> DeadLetterResponse:
        """A failed task: its request, how often it was tried, and what went wrong last."""
        return self._transport.send(operations.get_dead_letter(task_id))

    def replay_dead_letter(self, task_id: str) -> int:
        """Queue a failed task again under its id; the number of the new attempt."""
        return (self._transport.send(operations.replay_dead_letter(task_id))).attempt

    def create_callback_secret(self) -> str:
        """Make the secret that signs callbacks from now on (Standard Webhooks); it is shown this once."""
        return (self._transport.send(operations.create_callback_secret())).secret

    def events(
        self, endpoint_id: str | None = None, *, after: str | None = None, follow: bool = True
    ) -> Iterator[HistoryEvent]:
        """Every event, or those of one endpoint: what follows position `after`; with `follow` then what happens.

        "0" as `after` begins with the oldest event kept, None with the next one to happen. When the connection breaks
        it is taken up again after the last event.
        """
        losses = 0
        while True:
            request = operations.events(endpoint_id, after, follow=follow)
            cause = "the event stream ended"
            try:
                with self._transport.open(request) as chunks:
                    decoder = SseDecoder()
                    for chunk in chunks:
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
            self._transport.pause(delay)

    def logs(self, endpoint_id: str, source: operations.LogSource = "worker", *, follow: bool = False) -> Iterator[str]:
        """The log of an endpoint's build or of its workers, in pieces as they arrive."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with self._transport.open(operations.logs(endpoint_id, source, follow=follow)) as chunks:
            for chunk in chunks:
                yield decoder.decode(chunk)

    def create_api_key(
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
        return self._transport.send(operations.create_api_key(request))

    def rotate_api_key(
        self, key_id: str, *, overlap_seconds: int, expires_in_seconds: int | None = None
    ) -> RotateApiKeyResponse:
        """Make a key that takes this one's place, which ends after the overlap. Needs the administrator's token."""
        request = RotateApiKeyRequest(overlap_seconds=overlap_seconds, expires_in_seconds=expires_in_seconds)
        return self._transport.send(operations.rotate_api_key(key_id, request))

    def api_keys(self) -> list[ApiKeyResponse]:
        """All keys. Needs the administrator's token as the key."""
        return self._transport.send(operations.list_api_keys()).api_keys

    def revoke_api_key(self, key_id: str) -> None:
        """Revoke a key. Needs the administrator's token as the key."""
        self._transport.send(operations.revoke_api_key(key_id))

    def create_subscription(
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
        return self._transport.send(operations.create_subscription(subscription))

    def subscriptions(self) -> list[EventSubscriptionResponse]:
        """All subscriptions of the caller."""
        return self._transport.send(operations.list_subscriptions()).event_subscriptions

    def subscription(self, subscription_id: str) -> EventSubscriptionResponse:
        """One subscription: how far it is, and since when it fails."""
        return self._transport.send(operations.get_subscription(subscription_id))

    def delete_subscription(self, subscription_id: str) -> None:
        """Delete a subscription; nothing is posted any more."""
        self._transport.send(operations.delete_subscription(subscription_id))

    def test_subscription(self, subscription_id: str) -> EventDelivery:
        """Have a test event posted now; what became of it."""
        return self._transport.send(operations.test_subscription(subscription_id))

    def subscription_deliveries(self, subscription_id: str, limit: int = 50) -> list[EventDelivery]:
        """The last attempts to deliver events, newest first, 100 at most."""
        return self._transport.send(operations.list_deliveries(subscription_id, limit)).deliveries
