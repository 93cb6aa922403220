"""The agent's memory on disk: one file for each endpoint's workers, one for the agent itself."""

import asyncio
import fcntl
import os
from pathlib import Path

from model_engine_runtime.agent.files import sync_folder, write_atomically
from model_engine_runtime.agent.records import AgentRecord, SetRecord
from model_engine_runtime.wire import decode, encode


class DataDirInUse(Exception):
    """Another agent works in this folder."""


class Store:
    """Reads at start, then writes behind each change. Files hold secrets, so only their owner may read them."""

    def __init__(self, folder: Path) -> None:
        self._sets = folder / "sets"
        self._agent = folder / "agent.json"
        self._lock = folder / "agent.lock"
        self._held: int | None = None

    def open(self) -> None:
        """Make the folder and take it. Raises DataDirInUse."""
        self._sets.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._held = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataDirInUse(f"{self._lock.parent} is in use by another agent") from error

    def close(self) -> None:
        """Let go of the folder."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def load_agent(self) -> AgentRecord:
        """The agent's own record."""
        return decode(AgentRecord, self._agent.read_bytes()) if self._agent.exists() else AgentRecord()

    def load_sets(self) -> list[SetRecord]:
        """The record of every endpoint."""
        return [decode(SetRecord, path.read_bytes()) for path in sorted(self._sets.glob("[!.]*.json"))]

    async def save_agent(self, record: AgentRecord) -> None:
        """Durable when it returns. Raises OSError."""
        await asyncio.to_thread(write_atomically, self._agent, encode(record))

    async def save_set(self, record: SetRecord) -> None:
        """Durable when it returns. Raises OSError."""
        path = self._sets / f"{record.want.endpoint_id}.json"
        await asyncio.to_thread(write_atomically, path, encode(record))

    async def remove_set(self, endpoint_id: str) -> None:
        """Durable when it returns. Raises OSError."""

        def remove() -> None:
            (self._sets / f"{endpoint_id}.json").unlink(missing_ok=True)
            sync_folder(self._sets)

        await asyncio.to_thread(remove)
