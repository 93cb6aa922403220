"""Commands on the generations of an endpoint: what was asked for when, and how to go back."""

from typing import TYPE_CHECKING, Annotated

import typer

from model_engine.cli.options import ApiKey, DataDir, Output, Timeout, Url, connect
from model_engine.cli.output import show_fields, show_json, show_table, waiting

if TYPE_CHECKING:
    from model_engine_contracts.api.endpoints import ModelEndpointRevision

Name = Annotated[str, typer.Argument(help="Name or id of an endpoint.")]

app = typer.Typer(help="Look at the generations of an endpoint, and go back to one.", no_args_is_help=True)


@app.command()
def history(
    name: Name,
    generation: Annotated[
        int | None, typer.Option("--generation", "-g", help="Show this one with its settings.")
    ] = None,
    output: Output = "table",
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """List the last generations, newest first, and what each changed."""
    with connect(url, api_key, data_dir) as client:
        revisions = client.revisions(client.endpoint(name).id)
    if generation is not None:
        revisions = [revision for revision in revisions if revision.generation == generation]
        if not revisions:
            raise typer.BadParameter(
                f"generation {generation} is not kept; `rollout history {name}` lists those that are."
            )
    if output == "json":
        show_json(revisions)
    elif generation is not None:
        show_fields(revisions[0].settings.items())
    else:
        rows = [
            (
                str(one.generation),
                f"{one.created_at:%Y-%m-%d %H:%M:%S}",
                one.created_by,
                one.bundle_name,
                _state(one),
                ", ".join(one.changed),
            )
            for one in revisions
        ]
        show_table(("GENERATION", "CREATED", "BY", "BUNDLE", "STATE", "CHANGED"), rows)


@app.command()
def undo(
    name: Name,
    to_generation: Annotated[
        int | None, typer.Option("--to-generation", help="Without it: the last that asked for something else.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until a worker answers.")] = True,
    timeout: Timeout = 900,
    output: Output = "table",
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """Ask again for what an older generation asked for. It becomes a generation of its own."""
    with connect(url, api_key, data_dir) as client:
        endpoint = client.endpoint(name)
        done = client.rollback(endpoint.id, to_generation)
        if wait:
            with waiting(f"{name} goes back to generation {done.rolled_back_to}"):
                client.wait_until_ready(endpoint.id, timeout)
    if output == "json":
        show_json(done)
    else:
        typer.echo(
            f"{endpoint.name} asks for what generation {done.rolled_back_to} did, as generation {done.generation}."
        )


def _state(revision: "ModelEndpointRevision") -> str:
    states = {"current": revision.current, "serving": revision.serving}
    return ", ".join(name for name, holds in states.items() if holds)
