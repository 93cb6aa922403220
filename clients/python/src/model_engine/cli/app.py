"""Puts the command line together: its own commands, and those that installed packages add.

A package adds commands by an entry point of the group `model_engine.commands` that names a Typer app; its commands
appear beside the others. That module is imported at every start of the command line, so it must be quick to import.
"""

from importlib.metadata import entry_points, version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from model_engine.cli import (
    api_keys,
    dead_letters,
    describing,
    endpoints,
    predictions,
    rollouts,
    tasks,
    watching,
    webhooks,
)
from model_engine.cli.exit_codes import ExitCode, exit_code_help, exit_code_of
from model_engine.errors import ModelEngineError

COMMANDS_GROUP = "model_engine.commands"


class _Commands(TyperGroup):
    """Ends every command that fails with its documented exit status and one line on stderr."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ModelEngineError as error:
            typer.secho(f"Error: {error}", err=True, fg="red")
            raise typer.Exit(exit_code_of(error)) from None
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"model-engine {version('model-engine')}")
        raise typer.Exit


def _options(
    version_wanted: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Deploy models, call them three ways, and see what happens to them."""


def build() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="model-engine",
        cls=_Commands,
        callback=_options,
        epilog=exit_code_help(),
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
    )
    for own in (endpoints.app, describing.app, predictions.app, watching.app):
        app.add_typer(own)
    app.add_typer(rollouts.app, name="rollout")
    app.add_typer(tasks.app, name="task")
    app.add_typer(dead_letters.app, name="dlq")
    app.add_typer(webhooks.app, name="webhook")
    app.add_typer(api_keys.app, name="api-key")
    for entry_point in entry_points(group=COMMANDS_GROUP):
        app.add_typer(entry_point.load())
    return app


def main() -> None:
    """Entry point of the console script."""
    build()()
