"""`Idempotency-Key` on POST: the same key and request are answered once more with the first answer, and run once.

The other headers play no part. A key that was used for another request is 422, one whose request is still running 409.
Only the answer 200 is kept, for a day: after every other one nothing was changed, and the key may be used again. If a
gateway dies within a request, its key is free again after ten seconds; whether the request took effect is then to be
seen in what it should have made.
"""

import asyncio
import base64
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from cryptography.fernet import Fernet, InvalidToken
from pymongo.errors import PyMongoError

from model_engine_chassis.asgi_server import AsgiApp, Receive, Scope, Send
from model_engine_gateway.clock import now
from model_engine_gateway.errors import ApiError
from model_engine_gateway.inference.asgi import ClientGone, headers_of, respond_error
from model_engine_gateway.principals import Principal
from model_engine_gateway.repositories.idempotency import HOLD, Done, IdempotencyRepository

log = logging.getLogger(__name__)

HEADER = b"idempotency-key"
MAX_KEY = 255
MAX_ANSWER_BYTES = 1 << 20
BODY_SECONDS = 60.0

Admit = Callable[[Scope], Awaitable[Principal]]


class IdempotentPosts:
    """An ASGI app around another one. `admit` says who calls, or raises ApiError.

    Answers may hold secrets (a new API key), so they are stored encrypted, under `secret`. Bodies beyond
    `max_body_bytes` end with 413.
    """

    def __init__(
        self, app: AsgiApp, records: IdempotencyRepository, admit: Admit, *, secret: str, max_body_bytes: int
    ) -> None:
        self._app = app
        self._records = records
        self._admit = admit
        self._max_body_bytes = max_body_bytes
        key = hashlib.sha256(b"model-engine idempotency\0" + secret.encode()).digest()
        self._seal = Fernet(base64.urlsafe_b64encode(key))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; every one but a POST with a key goes straight on."""
        key = headers_of(scope).get(HEADER) if scope["method"] == "POST" else None
        if key is None:
            await self._app(scope, receive, send)
            return
        try:
            await self._serve(key, scope, receive, send)
        except ApiError as error:
            await respond_error(send, error)
        except ClientGone:
            log.debug("a client left before its request was complete", extra={"path": scope["path"]})
        except PyMongoError as error:
            log.warning("the database did not answer: %r", error)
            text = "The database does not answer at the moment. Please retry."
            await respond_error(send, ApiError(503, text, "database_unavailable", {"retry-after": "1"}))

    async def _serve(self, key: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        principal = await self._admit(scope)
        if not (0 < len(key) <= MAX_KEY and all(0x20 < byte < 0x7F for byte in key)):
            text = f"The header Idempotency-Key must be 1 to {MAX_KEY} visible ASCII characters, such as a UUID."
            raise ApiError(400, text, "invalid_header")
        record_id = hashlib.sha256(principal.owner.encode() + b"\0" + key).hexdigest()
        attempt = uuid4().hex
        body = _HashedBody(scope, receive, self._max_body_bytes)
        if await self._records.claim(record_id, attempt, now()):
            await self._run(record_id, attempt, body, scope, send)
        else:
            await self._replay(await self._records.find(record_id), body, send)

    async def _run(self, record_id: str, attempt: str, body: "_HashedBody", scope: Scope, send: Send) -> None:
        """Run the request while holding its record; keep the answer, then send it."""
        answer = _Answer()
        done: Done | None = None
        try:
            async with self._held(record_id, attempt):
                await self._app(scope, body.receive, answer.send)
                if answer.status == 200:
                    done = Done(await body.fingerprint(), self._sealed(answer))
        except Exception:
            log.exception("a request with an Idempotency-Key failed unexpectedly", extra={"path": scope["path"]})
        finally:
            await asyncio.shield(self._settle(record_id, attempt, done))
        for message in answer.messages:
            await send(message)

    async def _settle(self, record_id: str, attempt: str, done: Done | None) -> None:
        try:
            if done is None:
                await self._records.release(record_id, attempt)
            else:
                await self._records.finish(record_id, attempt, done)
        except PyMongoError as error:
            # The request has run: its answer matters more. The record is released like that of a dead attempt.
            log.error("an answer could not be kept for its Idempotency-Key: %r", error)

    async def _replay(self, done: Done | None, body: "_HashedBody", send: Send) -> None:
        if done is None:
            text = "A request with this Idempotency-Key is still running. Please retry."
            raise ApiError(409, text, "idempotency_key_in_use", {"retry-after": "1"})
        if await body.fingerprint() != done.fingerprint:
            text = "This Idempotency-Key was used for another request. Use a new key for every new request."
            raise ApiError(422, text, "idempotency_key_reused")
        try:
            if done.answer is None:
                raise InvalidToken
            headers, content = json.loads(self._seal.decrypt(done.answer))
        except InvalidToken:
            text = "The request of this Idempotency-Key succeeded, but its answer is not kept. Look at what it made."
            raise ApiError(409, text, "idempotent_answer_lost") from None
        kept = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        start = {"type": "http.response.start", "status": 200, "headers": [*kept, (b"idempotency-replayed", b"true")]}
        await send(start)
        await send({"type": "http.response.body", "body": base64.b64decode(content)})

    def _sealed(self, answer: "_Answer") -> bytes | None:
        content = b"".join(message.get("body", b"") for message in answer.messages[1:])
        if len(content) > MAX_ANSWER_BYTES:
            return None
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.messages[0]["headers"]]
        return self._seal.encrypt(json.dumps([headers, base64.b64encode(content).decode()]).encode())

    @asynccontextmanager
    async def _held(self, record_id: str, attempt: str) -> AsyncIterator[None]:
        """Keep the record held while the block runs, however long that is."""

        async def hold() -> None:
            while True:
                await asyncio.sleep(HOLD.total_seconds() / 3)
                try:
                    await self._records.hold(record_id, attempt, now())
                except PyMongoError as error:
                    log.warning("an Idempotency-Key could not be held: %r", error)

        holding = asyncio.create_task(hold())
        try:
            yield
        finally:
            holding.cancel()


class _Answer:
    """The answer of the app, kept until it is whole."""

    def __init__(self) -> None:
        self.messages: list[MutableMapping[str, Any]] = []

    @property
    def status(self) -> int | None:
        return self.messages[0]["status"] if self.messages else None

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """The app's `send`."""
        self.messages.append(message)


class _HashedBody:
    """The request as it arrives, and the hash of what makes it this request: its path, its query and its body."""

    def __init__(self, scope: Scope, receive: Receive, max_bytes: int) -> None:
        self._receive = receive
        self._hash = hashlib.sha256(
            scope["path"].encode("utf-8", "surrogatepass") + b"?" + scope["query_string"] + b"\n"
        )
        self._bytes_left = max_bytes
        self._more = True

    async def receive(self) -> MutableMapping[str, Any]:
        """The app's `receive`."""
        message = await self._receive()
        if message["type"] == "http.request":
            piece = message.get("body", b"")
            self._hash.update(piece)
            self._bytes_left -= len(piece)
            self._more = message.get("more_body", False)
        else:
            self._more = False
        return message

    async def fingerprint(self) -> str:
        """The hash, once the rest of the body is there too. Raises ApiError 408 and 413, and ClientGone."""
        while self._more:
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    message = await self.receive()
            except TimeoutError:
                text = f"Nothing of the body arrived for {BODY_SECONDS:g} seconds."
                raise ApiError(408, text, "request_body_timeout") from None
            if message["type"] == "http.disconnect":
                raise ClientGone
            if self._bytes_left < 0:
                raise ApiError(413, "The request body is too large.", "request_too_large")
        return self._hash.hexdigest()
