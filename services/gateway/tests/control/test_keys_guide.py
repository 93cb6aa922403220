"""The commands and the resolver of the guide on keys do what it says."""

import asyncio
import os
import re
import shlex
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from model_engine.connection import Connection, write_connection

GUIDE = Path(__file__).parents[4] / "docs" / "guides" / "keys.md"


async def _run(words: list[str], environment: dict[str, str]) -> str:
    command = [str(Path(sys.executable).with_name("model-engine")), *words]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, (words, err.decode())
    return out.decode()


async def test_the_commands_of_the_guide_work(platform: Any, tmp_path: Path) -> None:
    (tmp_path / "admin-token").write_text(platform.gateway.settings.admin_token)
    write_connection(tmp_path, Connection(platform.url, "none"))
    environment = {**os.environ, "COLUMNS": "200"}
    key_id, told = "", ""
    for command in re.findall(r"^\$ model-engine (api-key .*)$", GUIDE.read_text(), re.MULTILINE):
        words = shlex.split(command.replace("KEY_ID", key_id).replace("DIR", str(tmp_path)))
        told = await _run(words, environment)
        if words[1] == "create":
            key_id = next(word for word in told.split() if word.startswith("key_"))
    assert told == f"{key_id} is revoked.\n"
    listed = await _run(["api-key", "list", "--data-dir", str(tmp_path)], environment)
    assert "invoke,read" in listed
    assert [line.split()[0] for line in listed.splitlines() if "revoked" in line] == [key_id]


async def test_the_resolver_of_the_guide_works(
    start: Callable[..., Awaitable[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert code is not None
    (tmp_path / "directory_of_the_guide.py").write_text(code[1])
    monkeypatch.syspath_prepend(tmp_path)
    platform = await start(identity="directory_of_the_guide:Directory")
    async with platform.client("ada@engines") as known, platform.client("ada") as unknown:
        assert (await known.get("/v1/model-endpoints")).status_code == 200
        assert (await unknown.get("/v1/model-endpoints")).status_code == 401
