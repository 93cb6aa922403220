"""The commands and the receiver of the guide on webhooks do what it says."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import guides
from model_engine_local.ports import free_port
from model_engine_local.testing import eventually


async def test_the_guide_works(start: Callable[..., Awaitable[Any]], tmp_path: Path) -> None:
    port = free_port()
    platform = await start(allowed_callback_networks=[ip_network("127.0.0.0/8")])
    given = {"ME_URL": platform.url, "ME_API_KEY": await platform.new_key("ada"), "PORT": str(port)}
    environment = guides.with_commands({**os.environ, **given})
    (tmp_path / "receiver.py").write_text(guides.code_blocks("webhooks", "python")[0])
    webhook_id, printed = "", tmp_path / "printed"
    receiver: asyncio.subprocess.Process | None = None
    try:
        for command in guides.commands("webhooks"):
            if command.line.startswith("WEBHOOK_SECRET"):
                with printed.open("wb") as output:
                    receiver = await asyncio.create_subprocess_exec(
                        sys.executable, str(tmp_path / "receiver.py"), env=environment, stdout=output, stderr=output
                    )
                await eventually(lambda: _listens(port))
                continue
            line = command.line.replace("8080", str(port)).replace("WEBHOOK_ID", webhook_id)
            told = await guides.run(line, environment)
            if "webhook create" in line:
                environment["WEBHOOK_SECRET"] = _word(told, "whsec_")
                webhook_id = _word(told, "sub_")
        await eventually(lambda: "modelengine.subscription.tested.v1" in printed.read_text())
    finally:
        if receiver is not None:
            receiver.kill()
            await receiver.wait()


def _word(text: str, beginning: str) -> str:
    return next(word for word in text.split() if word.startswith(beginning))


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
