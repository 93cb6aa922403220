"""The commands that a platform on this machine adds to `model-engine`: up, down, status, doctor, demo."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer()

DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where the platform keeps everything; else ME_DATA_DIR, ~/.model-engine."),
]
OutputOption = Annotated[Literal["table", "json"], typer.Option("--output", "-o", help="For people or for programs.")]


@app.command()
def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the gateway.")] = 5000,
    host: Annotated[str, typer.Option(help="Address the gateway listens on.")] = "127.0.0.1",
    data_dir: DataDirOption = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when everything is ready.")] = False,
    scale: Annotated[list[str] | None, typer.Option(metavar="SERVICE=N", help="Run N processes of a service.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="ME_NAME=VALUE", help="A setting for all.")] = None,
) -> None:
    """Start the whole platform on this machine: servers, agent and services, each a process."""
    from model_engine_local import control

    control.up(control.up_options(data_dir, host, port, scale or [], set_ or []), detach=detach)


@app.command()
def down(data_dir: DataDirOption = None) -> None:
    """Stop the platform of a data directory; what is stored stays."""
    from model_engine_local import control

    control.down(data_dir)


@app.command()
def status(data_dir: DataDirOption = None, output: OutputOption = "table") -> None:
    """Show the processes of the platform and whether each is ready."""
    from model_engine_local import control

    control.status(data_dir, as_json=output == "json")


@app.command()
def doctor(output: OutputOption = "table") -> None:
    """Say what this machine lacks to run the platform, and how to get it."""
    from model_engine_local import doctor as checks

    checks.run(as_json=output == "json")


@app.command()
def demo(
    data_dir: DataDirOption = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the platform running afterwards.")] = False,
) -> None:
    """Start a platform, deploy a digits classifier, call it three ways, show what happened, shut down."""
    from model_engine_local import demo as show

    show.run(data_dir, keep=keep)
