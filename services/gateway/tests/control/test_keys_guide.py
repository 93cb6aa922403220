"""The commands and the resolver of the guide on keys do what it says."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import guides
from model_engine.connection import Connection, write_connection


async def test_the_commands_of_the_guide_work(platform: Any, tmp_path: Path) -> None:
    (tmp_path / "admin-token").write_text(platform.gateway.settings.admin_token)
    write_connection(tmp_path, Connection(platform.url, "none"))
    environment = guides.with_commands(os.environ)
    key_id, told = "", ""
    for command in guides.commands("keys"):
        if not command.line.startswith("model-engine"):
            continue
        line = command.line.replace("KEY_ID", key_id).replace("DIR", str(tmp_path))
        told = await guides.run(line, environment)
        if "api-key create" in line:
            key_id = next(word for word in told.split() if word.startswith("key_"))
    assert told == f"{key_id} is revoked.\n"
    listed = await guides.run(f"model-engine api-key list --data-dir {tmp_path}", environment)
    assert "invoke,read" in listed
    assert [line.split()[0] for line in listed.splitlines() if "revoked" in line] == [key_id]


async def test_the_resolver_of_the_guide_works(
    start: Callable[..., Awaitable[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "directory_of_the_guide.py").write_text(guides.code_blocks("keys", "python")[0])
    monkeypatch.syspath_prepend(tmp_path)
    platform = await start(identity="directory_of_the_guide:Directory")
    async with platform.client("ada@engines") as known, platform.client("ada") as unknown:
        assert (await known.get("/v1/model-endpoints")).status_code == 200
        assert (await unknown.get("/v1/model-endpoints")).status_code == 401
