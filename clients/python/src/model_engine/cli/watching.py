"""Commands that show what happens: logs and events."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from model_engine.cli.options import ApiKey, DataDir, Output, Url, connect
from model_engine.cli.output import show_json_line

if TYPE_CHECKING:
    from model_engine.history import HistoryEvent

app = typer.Typer()

Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens from now on.")]


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="Name or id of an endpoint.")],
    source: Annotated[
        Literal["build", "worker"], typer.Option(help="The log of its build, or of its workers.")
    ] = "worker",
    follow: Follow = False,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """Print the log of an endpoint's build or workers."""
    with connect(url, api_key, data_dir) as client:
        for text in client.logs(client.endpoint(name).id, source, follow=follow):
            typer.echo(text, nl=False)


@app.command()
def events(
    name: Annotated[str | None, typer.Argument(help="Name or id of an endpoint; without it, of everything.")] = None,
    follow: Follow = False,
    after: Annotated[str, typer.Option(help="Position after which to begin; 0 is the oldest event kept.")] = "0",
    output: Output = "table",
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """Print the history of an endpoint, or of all that is yours; with -o json one CloudEvent per line."""
    with connect(url, api_key, data_dir) as client:
        endpoint_id = None if name is None else client.endpoint(name).id
        for event in client.events(endpoint_id, after=after, follow=follow):
            if output == "json":
                show_json_line(event.raw)
            else:
                typer.echo(event_line(event))


def event_line(event: "HistoryEvent") -> str:
    """One event on one line."""
    verb = event.type.removeprefix("modelengine.")
    facts = ", ".join(f"{key}={_short(value)}" for key, value in event.data.items() if value is not None)
    return f"{event.position:>6}  {event.time:%H:%M:%S}  {verb:<32}  {facts}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= 120 else text[:119] + "…"
