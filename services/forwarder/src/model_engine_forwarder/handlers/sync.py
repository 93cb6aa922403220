"""A call answered as a whole: the model server's JSON, wrapped as the block says."""

from model_engine_chassis.asgi_server import Send
from model_engine_chassis.upstream import Exchange
from model_engine_forwarder.config import SyncBlock
from model_engine_forwarder.envelope import Envelope, plain_json, wrap_result
from model_engine_forwarder.errors import unreadable_answer
from model_engine_forwarder.json_bytes import NotJson
from model_engine_forwarder.messages import Header, respond_json
from model_engine_forwarder.model_server import ModelServer


class SyncForward:
    """Forwards to one route of the model server. `max_bytes` bounds the answer."""

    def __init__(self, server: ModelServer, block: SyncBlock, route: str, max_bytes: int) -> None:
        self._server = server
        self._block = block
        self._target = route.encode()
        self._max_bytes = max_bytes
        self.unwrap = block.model_engine_unwrap

    async def __call__(self, envelope: Envelope, body: bytes, headers: list[Header], send: Send) -> int:
        """Forward `body`, the model's part of `envelope`. Returns the status answered."""
        block = self._block
        status, answer = await self._server.post(self._target, body, headers, self._read)
        try:
            content = self.result(envelope, status, answer)
        except NotJson as error:
            raise unreadable_answer(status, str(error), answer, keep_status=block.forward_http_status) from error
        return await respond_json(send, status if block.forward_http_status else 200, content)

    def result(self, envelope: Envelope, status: int, answer: bytes) -> bytes:
        """What the caller gets for the model server's answer. Raises NotJson."""
        block = self._block
        if not block.wrap_response:
            return plain_json(answer)
        return wrap_result(
            answer,
            as_text=envelope.result_as_text(block.serialize_results_as_string),
            status=status if block.forward_http_status_in_body else None,
        )

    async def _read(self, answer: Exchange) -> tuple[int, bytes]:
        return answer.status, await answer.read(self._max_bytes)
