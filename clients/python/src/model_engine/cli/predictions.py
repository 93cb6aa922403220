"""The command that calls an endpoint, in the way that suits its type."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from model_engine.cli.options import ApiKey, DataDir, Output, Timeout, Url, connect, read_json
from model_engine.cli.output import show_json, show_json_line, waiting

if TYPE_CHECKING:
    from model_engine.client import Client

app = typer.Typer()

_MODE_OF_TYPE = {"sync": "sync", "streaming": "stream", "async": "async"}


@app.command()
def predict(
    name: Annotated[str, typer.Argument(help="Name or id of an endpoint.")],
    args: Annotated[
        str, typer.Argument(help="Arguments of the predict function: a JSON object, @FILE, or - for standard input.")
    ],
    mode: Annotated[
        Literal["sync", "stream", "async"] | None,
        typer.Option(help="How to call it.", show_default="by the endpoint's type"),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait for the result of an async task.")] = True,
    timeout: Timeout = 300,
    output: Output = "table",
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """Call an endpoint and print what it answers: JSON, for a stream one line per value.

    Without --wait an async call prints the id of its task.
    """
    arguments = read_json(args, "ARGS")
    with connect(url, api_key, data_dir) as client:
        endpoint = client.endpoint(name)
        match mode or _MODE_OF_TYPE[endpoint.endpoint_type.value]:
            case "stream":
                for value in client.stream(endpoint.id, arguments):
                    show_json_line(value)
            case "async":
                _call_async(client, endpoint.id, arguments, wait, timeout, output)
            case _:
                show_json(client.predict(endpoint.id, arguments, timeout_seconds=timeout))


def _call_async(client: "Client", endpoint_id: str, arguments: Any, wait: bool, timeout: float, output: str) -> None:
    task_id = client.submit(endpoint_id, arguments)
    if wait:
        with waiting(f"task {task_id}"):
            show_json(client.wait_for_task(task_id, timeout))
    elif output == "json":
        show_json({"task_id": task_id})
    else:
        typer.echo(task_id)
