"""The life of a process: settings, logs, the service, signals, drain, exit code."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

import uvloop

from model_engine_chassis.log import configure
from model_engine_chassis.settings_base import ServiceSettings, SettingsError, load_settings, settings_table

log = logging.getLogger(__name__)

EXIT_SETTINGS = 78
"""EX_CONFIG of sysexits.h."""

GRACE_SECONDS = 5.0

SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


class Service(Protocol):
    """What a composition root makes: runs until `stop` is set, then drains and returns."""

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set."""


def run(name: str, settings_class: type[SettingsT], build: Callable[[SettingsT], Service]) -> NoReturn:
    """Be the process `name`: what every `__main__` calls. Exits 0 after a drain, 1 after an error, 78 for settings.

    `--help` prints the table of settings. SIGTERM and SIGINT drain; a second one, or a drain that takes five seconds
    longer than its bound, ends the process at once. `build` may raise SettingsError for settings that do not fit
    together.
    """
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(f"{build.__doc__ or name}\n\nSettings:\n\n{settings_table(settings_class)}")  # noqa: T201  # it is help
        sys.exit(0)
    try:
        settings = load_settings(settings_class)
    except SettingsError as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201  # logs are not configured yet
        sys.exit(EXIT_SETTINGS)
    configure(settings.log_level, settings.log_format, name, settings.instance_id)
    try:
        uvloop.run(_main(build, settings))
    except SettingsError as error:
        log.critical("%s", error)
        sys.exit(EXIT_SETTINGS)
    except Exception:
        log.critical("ended by an error", exc_info=True)
        sys.exit(1)
    sys.exit(0)


async def _main(build: Callable[[SettingsT], Service], settings: SettingsT) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    service = build(settings)

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)
        log.info("draining")
        stop.set()
        loop.call_later(settings.drain_seconds + GRACE_SECONDS, _give_up)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    await service.run(stop)


def _give_up() -> None:
    log.error("the drain took too long")
    os._exit(1)


async def run_until(
    stop: asyncio.Event, *background: Coroutine[Any, Any, Any], serving: Sequence[Coroutine[Any, Any, Any]] = ()
) -> None:
    """Run all coroutines until `stop` is set; then wait for those in `serving`, which drain by themselves, and only
    then cancel the background ones, since a request that drains may still need them.

    An exception in one of them cancels the others and is raised.
    """
    async with asyncio.TaskGroup() as group:
        drained = [group.create_task(coroutine) for coroutine in serving]
        cancelled = [group.create_task(coroutine) for coroutine in background]
        await stop.wait()
        if drained:
            await asyncio.wait(drained)
        for task in cancelled:
            task.cancel()
