"""The life of a process, seen from outside: help, exit codes, signals, drain."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from model_engine_chassis.lifecycle import run_until

Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    processes: list[asyncio.subprocess.Process] = []

    async def do(*arguments: str, **variables: str) -> asyncio.subprocess.Process:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ME_")}
        script = Path(__file__).with_name("lifecycle_service.py")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            script,
            *arguments,
            env=clean | variables,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        processes.append(process)
        return process

    yield do
    for process in processes:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def line_of(process: asyncio.subprocess.Process, message: str) -> dict[str, Any]:
    """Read the log up to the line with this message."""
    assert process.stderr is not None
    async with asyncio.timeout(20):
        async for line in process.stderr:
            if (found := json.loads(line))["message"] == message:
                return dict(found)
    raise AssertionError(f"{message!r} was not logged")


async def test_help_prints_the_settings_without_needing_any(start: Start) -> None:
    output, _ = await (await start("--help")).communicate()
    assert b"| `ME_COLOR` | str | **required** | its colour |" in output
    assert b"An example of a service." in output


@pytest.mark.parametrize(
    ("variables", "parts"),
    [
        ({"ME_SIZE": "0"}, ["ME_COLOR is missing", "ME_SIZE is invalid"]),
        ({"ME_COLOR": "odd"}, ["ME_COLOR does not fit to ME_SIZE"]),
    ],
)
async def test_wrong_settings_exit_78_and_are_named(start: Start, variables: dict[str, str], parts: list[str]) -> None:
    process = await start(**variables)
    _, errors = await process.communicate()
    assert process.returncode == 78
    assert all(part in errors.decode() for part in parts)
    assert "Traceback" not in errors.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_what_serves_before_the_background_ends(start: Start, number: signal.Signals) -> None:
    process = await start(ME_COLOR="red")
    assert (await line_of(process, "running"))["service"] == "example"
    process.send_signal(number)
    for message in ("draining", "drained", "background ended", "stopped"):
        await line_of(process, message)
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_second_signal_ends_it_at_once(start: Start) -> None:
    process = await start(ME_COLOR="red", BEHAVIOUR="hang", ME_DRAIN_SECONDS="600")
    await line_of(process, "running")
    process.terminate()
    await line_of(process, "draining")
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 10) == 1


async def test_a_drain_that_takes_too_long_is_ended(start: Start) -> None:
    process = await start(ME_COLOR="red", BEHAVIOUR="hang", ME_DRAIN_SECONDS="0.1")
    await line_of(process, "running")
    process.terminate()
    await line_of(process, "the drain took too long")
    assert await asyncio.wait_for(process.wait(), 10) == 1


async def test_an_error_ends_the_process_with_its_cause_in_the_log(start: Start) -> None:
    process = await start(ME_COLOR="red", BEHAVIOUR="fail")
    assert "the background work failed" in (await line_of(process, "ended by an error"))["exception"]
    assert await asyncio.wait_for(process.wait(), 10) == 1


async def test_run_until_cancels_everything_when_one_coroutine_fails() -> None:
    cancelled = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ExceptionGroup) as raised:
        await run_until(asyncio.Event(), wait(), serving=[fail()])
    assert isinstance(raised.value.exceptions[0], ValueError)
    assert cancelled.is_set()
