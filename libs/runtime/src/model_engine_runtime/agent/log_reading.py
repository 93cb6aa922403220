"""Logs for others: pieces of bounded size, each with the position where the next one begins."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from model_engine_runtime.agent.backend import Backend, RunId
from model_engine_runtime.agent.engine import Engine
from model_engine_runtime.agent.log_files import read_from
from model_engine_runtime.agent.preparations import BUILD_LOG
from model_engine_runtime.errors import UnknownEndpoint
from model_engine_runtime.protocol import PrepState
from model_engine_runtime.wire import LogPiece, LogPosition, LogRead

PIECE_BYTES = 256 << 10
MODEL_LOG = "model"
WAIT_SECONDS = 1.0
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Source:
    """One log. `run` is the one to read up to, `live` whether more may come."""

    name: str
    stem: str
    run: int
    live: bool
    prefix: str = ""


class LogReader:
    """Reads the logs of an engine's workers and environments."""

    def __init__(self, engine: Engine, backend: Backend) -> None:
        self._engine, self._backend = engine, backend

    async def read(self, request: LogRead) -> LogPiece:
        """The next piece; while following, one that is empty after a second without anything new.

        Raises UnknownEndpoint.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + WAIT_SECONDS
        while True:
            try:
                sources = self._sources(request)
            except UnknownEndpoint:
                if not request.positions:
                    raise
                return LogPiece("", {}, end=True)  # it was there before, and is gone
            piece = await asyncio.to_thread(self._piece, request, sources)
            if piece.text or piece.end or loop.time() > deadline:
                return piece
            await asyncio.sleep(POLL_SECONDS)

    def _sources(self, request: LogRead) -> list[Source]:
        if (known := self._engine.preparations.known.get(request.id)) is not None:
            live = known.state in (PrepState.QUEUED, PrepState.BUILDING)
            return [Source(request.id, BUILD_LOG, 0, live)]
        workers = self._engine.endpoints.get(request.id)
        if workers is None:
            raise UnknownEndpoint(f"no endpoint and no environment {request.id}")
        names = [request.worker] if request.worker is not None else [worker.id for worker in workers.workers]
        sources = []
        for name in names:
            if (supervisor := workers.supervisor(name)) is None:
                raise UnknownEndpoint(f"{request.id} has no worker {name}")
            run = supervisor.run_id.run - (1 if request.previous else 0)
            prefix = f"[{name}] " if request.worker is None else ""
            sources.append(Source(name, MODEL_LOG, run, live=not request.previous, prefix=prefix))
        return sources

    def _piece(self, request: LogRead, sources: list[Source]) -> LogPiece:
        positions = dict(request.positions or {})
        texts = []
        limit = PIECE_BYTES // max(1, len(sources))
        for source in sources:
            text, positions[source.name] = self._read(request, source, positions.get(source.name), limit)
            texts.append(text)
        waits = request.follow and any(source.live for source in sources)
        text = "".join(texts)
        return LogPiece(text, positions, end=not text and not waits)

    def _read(
        self, request: LogRead, source: Source, position: LogPosition | None, limit: int
    ) -> tuple[str, LogPosition]:
        position = position or LogPosition(source.run, 0)
        content, offset = read_from(self._folder(request, source, position.run), source.stem, position.offset, limit)
        if not content and position.run < source.run:
            position = LogPosition(source.run, 0)
            content, offset = read_from(self._folder(request, source, source.run), source.stem, 0, limit)
        grows = request.follow and source.live and position.run == source.run
        if grows or len(content) >= limit:
            whole_lines = content.rfind(b"\n") + 1
            if whole_lines or len(content) < limit:
                offset -= len(content) - whole_lines
                content = content[:whole_lines]
        text = content.decode("utf-8", "replace")
        if source.prefix:
            text = "".join(source.prefix + line for line in text.splitlines(keepends=True))
        return text, LogPosition(position.run, offset)

    def _folder(self, request: LogRead, source: Source, run: int) -> Path:
        if source.stem == BUILD_LOG:
            return self._engine.preparations.log_folder(request.id)
        return self._backend.log_folder(RunId(request.id, source.name, run))
