"""The commands and the receiver of the guide on webhooks do what it says."""

import asyncio
import os
import re
import shlex
import sys
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from model_engine_local.ports import free_port
from model_engine_local.testing import eventually

GUIDE = Path(__file__).parents[4] / "docs" / "guides" / "webhooks.md"


async def test_the_guide_works(start: Callable[..., Awaitable[Any]], tmp_path: Path) -> None:
    text, port = GUIDE.read_text(), free_port()
    platform = await start(allowed_callback_networks=[ip_network("127.0.0.0/8")])
    environment = {**os.environ, "ME_URL": platform.url, "ME_API_KEY": await platform.new_key("ada"), "COLUMNS": "200"}
    environment["PORT"] = str(port)
    (tmp_path / "receiver.py").write_text(_block(text, "python"))
    webhook_id, printed = "", tmp_path / "printed"
    receiver: asyncio.subprocess.Process | None = None
    try:
        for command in re.findall(r"^\$ (model-engine webhook .*|WEBHOOK_SECRET=.*)$", text, re.MULTILINE):
            if command.startswith("WEBHOOK_SECRET"):
                with printed.open("wb") as output:
                    receiver = await asyncio.create_subprocess_exec(
                        sys.executable, str(tmp_path / "receiver.py"), env=environment, stdout=output, stderr=output
                    )
                await eventually(lambda: _listens(port))
                continue
            words = shlex.split(command.replace("8080", str(port)).replace("WEBHOOK_ID", webhook_id))
            told = await _run(words[1:], environment)
            if words[2] == "create":
                environment["WEBHOOK_SECRET"] = _word(told, "whsec_")
                webhook_id = _word(told, "sub_")
        await eventually(lambda: "modelengine.subscription.tested.v1" in printed.read_text())
    finally:
        if receiver is not None:
            receiver.kill()
            await receiver.wait()


def _block(text: str, language: str) -> str:
    return text.split(f"```{language}\n", 1)[1].split("```", 1)[0]


def _word(text: str, beginning: str) -> str:
    return next(word for word in text.split() if word.startswith(beginning))


async def _run(words: list[str], environment: dict[str, str]) -> str:
    command = Path(sys.executable).parent / "model-engine"
    process = await asyncio.create_subprocess_exec(
        command, *words, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()
    return told.decode()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
