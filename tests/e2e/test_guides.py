"""The commands of the guides do what the guides say, one after the other on the platform that they start."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path

import httpx
import pytest

import guides
from model_engine_local.control import stop_launcher
from model_engine_local.data_dir import DataDir
from model_engine_local.ports import free_port
from model_engine_local.testing import eventually

READ_IN_ORDER = ("operate", "deploy", "call", "watch", "scale", "troubleshoot")
LAST = ("model-engine down", "model-engine delete")


@pytest.fixture
async def environment(tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """A shell of a person who has no platform yet; whatever they start is stopped."""
    data = tmp_path / "data"
    yield guides.with_commands({**os.environ, "ME_DATA_DIR": str(data)})
    if (running := DataDir(data).read_record()) is not None:
        await asyncio.to_thread(stop_launcher, running.launcher)


@pytest.mark.timeout(240)
async def test_the_commands_of_the_guides_work(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "greeting.py").write_text(guides.code_blocks("deploy", "python")[0])
    listed = [command for guide in READ_IN_ORDER for command in guides.commands(guide)]
    at_the_end = [command for command in listed if command.line.startswith(LAST)]
    ordered = [command for command in listed if command not in at_the_end] + at_the_end[::-1]
    ran = set()
    for command in ordered:
        line = command.line.replace("DIR", environment["ME_DATA_DIR"]).replace("5000", str(free_port()))
        if _follows(line):
            await _follow(line, environment, tmp_path)
        elif "| grep" in line:
            await eventually(partial(_finds, line, environment, tmp_path), 60, 0.5)
        else:
            told = await guides.run(line, environment, tmp_path)
            assert command.shown in told
        if line.startswith("model-engine up"):
            environment |= _connection(environment)
        if line.startswith("model-engine deploy"):
            shown = json.loads(await guides.run("model-engine get greeting -o json", environment))
            environment["ID"] = shown["id"]
        ran.add(line.split()[1])
    assert {"up", "deploy", "predict", "events", "logs", "describe", "delete", "down"} <= ran
    assert DataDir(Path(environment["ME_DATA_DIR"])).read_record() is None


def _connection(environment: Mapping[str, str]) -> dict[str, str]:
    stored = json.loads((Path(environment["ME_DATA_DIR"]) / "client.json").read_text())
    return {"ME_URL": stored["url"], "ME_API_KEY": stored["api_key"]}


def _follows(line: str) -> bool:
    return line.endswith(" -f") or line.startswith("curl -N")


async def _follow(line: str, environment: Mapping[str, str], folder: Path) -> None:
    """Run a command that goes on until it is interrupted; it must print what happens."""
    process = await asyncio.create_subprocess_shell(
        line, env=environment, cwd=folder, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    printed = asyncio.create_task(process.stdout.read(1))

    async def something_happens() -> bool:
        async with httpx.AsyncClient(base_url=environment["ME_URL"], auth=(environment["ME_API_KEY"], "")) as client:
            # Every request for a change is an event of the audit trail, refused ones too.
            await client.post("/v1/model-endpoints", json={})
        return printed.done()

    try:
        await eventually(something_happens, 30, 0.2)
        assert printed.result(), f"{line} printed nothing"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await asyncio.gather(printed, return_exceptions=True)


async def _finds(line: str, environment: Mapping[str, str], folder: Path) -> bool:
    return bool(await guides.run(f"{line} || true", environment, folder))
