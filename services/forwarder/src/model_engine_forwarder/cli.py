"""The command line: `python -m model_engine_forwarder --config FILE --num-workers N`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from model_engine_chassis.lifecycle import EXIT_SETTINGS
from model_engine_chassis.log import configure
from model_engine_chassis.settings_base import (
    NatsSettings,
    ServiceSettings,
    SettingsError,
    load_settings,
    settings_table,
)
from model_engine_forwarder.app import build
from model_engine_forwarder.config import load_config
from model_engine_forwarder.errors import ConfigError
from model_engine_forwarder.server import bind, serve


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the flags; unknown ones end the process with a usage message and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m model_engine_forwarder",
        description="The sidecar of an inference worker: HTTP in, model server out.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"Settings by environment (NATS is needed by workers with a task queue only):\n\n"
        f"{settings_table(NatsSettings)}",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="YAML, or JSON by its name's ending")
    parser.add_argument(
        "--num-workers",
        type=_positive,
        required=True,
        metavar="N",
        help="accepted for compatibility: one process on uvloop serves all, so max_concurrency holds for the whole",
    )
    parser.add_argument("--host", help="address to listen on (default: every IPv4 and IPv6 address)")
    parser.add_argument("--port", type=int, default=5000, help="port to listen on, 0 for any free one (default: 5000)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="KEY.PATH=VALUE",
        help="override one key of the configuration, for example forwarder.max_concurrency=20; may be repeated",
    )
    parser.add_argument(
        "--graceful-timeout",
        type=_positive,
        default=600,
        metavar="SECONDS",
        help="how long requests in flight may take after a stop signal (default: 600)",
    )
    return parser.parse_args(arguments)


def main() -> None:
    """Run the forwarder until a signal stops it."""
    arguments = parse_arguments()
    try:
        config = load_config(arguments.config, arguments.overrides, os.environ)
        settings = load_settings(ServiceSettings)
        listener = bind(arguments.host, arguments.port)
        forwarder = build(config)
    except (ConfigError, SettingsError) as error:
        sys.stderr.write(f"model_engine_forwarder: {error}\n")
        sys.exit(EXIT_SETTINGS)
    configure(settings.log_level, settings.log_format, "forwarder", settings.instance_id)
    uvloop.run(serve(forwarder, listener, arguments.graceful_timeout))


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value
