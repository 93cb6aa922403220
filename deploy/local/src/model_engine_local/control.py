"""Starting, stopping and looking at the platform of a data directory from the command line."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import typer

from model_engine.cli.exit_codes import ExitCode
from model_engine.cli.output import say, show_json, show_table, waiting
from model_engine.client import Client
from model_engine.connection import Connection, default_data_dir, resolve_admin_connection, write_connection
from model_engine_local.data_dir import DataDir, Running
from model_engine_local.launcher import READY_SECONDS, UpOptions, run_until_signal
from model_engine_local.plan import SCALABLE
from model_engine_local.process import accepts, answers

STOP_SECONDS = 60.0
LOCAL_OWNER = "local"


def up_options(data_dir: Path | None, host: str, port: int, scale: Sequence[str], settings: Sequence[str]) -> UpOptions:
    """The options as the launcher takes them; ends the command with a usage error where they are wrong."""
    counts: dict[str, int] = {}
    for item in scale:
        service, _, count = item.partition("=")
        if service not in SCALABLE or not count.isdigit() or int(count) < 1:
            raise typer.BadParameter(f"--scale {item}: give SERVICE=N with one of {', '.join(sorted(SCALABLE))}")
        counts[service] = int(count)
    return UpOptions((data_dir or default_data_dir()).absolute(), host, port, counts, parse_settings(settings))


def parse_settings(settings: Sequence[str]) -> dict[str, str]:
    """`ME_X=V` pairs; ends the command with a usage error for anything else."""
    pairs = {}
    for item in settings:
        name, separator, value = item.partition("=")
        if not separator or not name.startswith("ME_"):
            raise typer.BadParameter(f"--set {item}: give ME_NAME=VALUE")
        pairs[name] = value
    return pairs


def up(options: UpOptions, *, detach: bool) -> None:
    """Start the platform in the foreground, or leave it running in the background once it is ready."""
    directory = DataDir(options.data_dir)
    directory.prepare()
    if running := running_platform(directory):
        say(f"Already running at {running.url} (data in {options.data_dir}).")
        return
    if accepts(options.port):
        typer.secho(f"Error: port {options.port} is taken; choose another with --port.", err=True, fg="red")
        raise typer.Exit(ExitCode.FAILED)
    if not detach:
        say(f"Starting; data in {options.data_dir}. Ctrl-C stops everything.")
        raise typer.Exit(asyncio.run(_foreground(options, directory)))
    running = start_detached(options)
    greet(running, options.data_dir)


async def _foreground(options: UpOptions, directory: DataDir) -> int:
    async def announce() -> None:
        while directory.read_record() is None:
            await asyncio.sleep(0.05)
        running = directory.read_record()
        if running is not None:
            await asyncio.to_thread(greet, running, options.data_dir)

    greeting = asyncio.create_task(announce())
    try:
        return await run_until_signal(options)
    finally:
        greeting.cancel()


def start_detached(options: UpOptions) -> Running:
    """Start the launcher in a session of its own and wait until it says that everything is ready."""
    directory = DataDir(options.data_dir)
    directory.prepare()
    pairs: Mapping[str, object] = {**options.scale, **options.overrides}
    command = [sys.executable, "-m", "model_engine_local.launcher", str(options.data_dir), options.host]
    command += [str(options.port), *(f"{name}={value}" for name, value in pairs.items())]
    with directory.launcher_log.open("wb") as log:
        launcher = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + READY_SECONDS + 30
    with waiting("starting servers, agent and services"):
        while (running := directory.read_record()) is None:
            if launcher.poll() is not None or time.monotonic() > deadline:
                text = directory.launcher_log.read_text(errors="replace")[-4000:]
                typer.secho(f"Error: the platform did not start.\n{text}", err=True, fg="red")
                raise typer.Exit(ExitCode.FAILED)
            time.sleep(0.05)
    return running


def greet(running: Running, data_dir: Path) -> None:
    """Leave a key for the commands on this machine and say where everything is."""
    administrator = resolve_admin_connection(running.url, data_dir)
    with Client(administrator) as client:
        key = client.create_api_key(LOCAL_OWNER).key
    write_connection(data_dir, Connection(running.url, key))
    say(f"Ready in {running.ready_seconds:g} s at {running.url} (owner {LOCAL_OWNER!r}, key in {data_dir}).")


def running_platform(directory: DataDir) -> Running | None:
    """The platform of this directory if its launcher lives."""
    running = directory.read_record()
    return running if running is not None and psutil.pid_exists(running.launcher) else None


def down(data_dir: Path | None) -> None:
    """Stop the platform and wait until its launcher is gone."""
    directory = DataDir((data_dir or default_data_dir()).absolute())
    running = running_platform(directory)
    if running is None:
        say(f"Nothing runs in {directory.path}.")
        return
    with waiting("stopping"):
        stop_launcher(running.launcher)
    say("Stopped.")


def stop_launcher(pid: int) -> None:
    """SIGTERM to the launcher, which stops all it started; an error after a minute."""
    try:
        launcher = psutil.Process(pid)
        launcher.send_signal(signal.SIGTERM)
        launcher.wait(STOP_SECONDS)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        typer.secho(f"Error: the launcher (process {pid}) did not stop in {STOP_SECONDS:g} s.", err=True, fg="red")
        raise typer.Exit(ExitCode.TIMEOUT) from None


def status(data_dir: Path | None, *, as_json: bool) -> None:
    """Print the platform's processes with their memory; exit status 6 when nothing runs."""
    directory = DataDir((data_dir or default_data_dir()).absolute())
    running = running_platform(directory)
    if running is None:
        if as_json:
            show_json({"running": False, "data_dir": str(directory.path)})
        else:
            say(f"Nothing runs in {directory.path}.")
        raise typer.Exit(ExitCode.UNAVAILABLE)
    processes = {name: _process(pid) for name, pid in running.processes.items()}
    ready = answers(f"{running.url}/readyz")
    if as_json:
        show_json(
            {
                "running": True,
                "ready": ready,
                "url": running.url,
                "data_dir": str(directory.path),
                "ready_seconds": running.ready_seconds,
                "nats_url": running.nats_url,
                "mongo_url": running.mongo_url,
                "redis_url": running.redis_url,
                "launcher": running.launcher,
                "processes": processes,
            }
        )
        return
    say(f"{running.url}: {'ready' if ready else 'not ready'}; data in {directory.path}")
    rows = [
        (name, str(item["pid"]), str(item["state"]), f"{item['pss_mib']:.0f} MiB") for name, item in processes.items()
    ]
    show_table(["process", "pid", "state", "memory"], rows)


def _process(pid: int) -> dict[str, object]:
    try:
        process = psutil.Process(pid)
        memory = process.memory_full_info().pss if sys.platform == "linux" else process.memory_info().rss
        return {"pid": pid, "state": process.status(), "pss_mib": memory / (1 << 20)}
    except psutil.Error:
        return {"pid": pid, "state": "gone", "pss_mib": 0.0}
