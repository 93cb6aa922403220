"""The command that explains an endpoint: its status, why, and what to do about it."""

from typing import TYPE_CHECKING, Annotated

import typer

from model_engine.cli.options import ApiKey, DataDir, Output, Url, connect
from model_engine.cli.output import show_fields, show_json
from model_engine.cli.watching import event_line

if TYPE_CHECKING:
    from model_engine.explanation import Explanation
    from model_engine_contracts.api.endpoints import GetModelEndpointV1Response

app = typer.Typer()


@app.command()
def describe(
    name: Annotated[str, typer.Argument(help="Name or id of an endpoint.")],
    output: Output = "table",
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """Explain an endpoint: status, code, cause, exit code, last lines of the log, remedy and recent events."""
    from model_engine.explanation import explain

    with connect(url, api_key, data_dir) as client:
        endpoint = client.endpoint(name)
        explanation = explain(endpoint, client.events(endpoint.id, after="0", follow=False))
    if output == "json":
        show_json(_document(endpoint, explanation))
    else:
        _show(endpoint, explanation)


def _document(endpoint: "GetModelEndpointV1Response", explanation: "Explanation") -> dict[str, object]:
    return {
        "endpoint": endpoint,
        "code": explanation.code,
        "cause": explanation.cause,
        "exit_code": explanation.exit_code,
        "remedy": explanation.remedy,
        "log_lines": explanation.log_lines,
        "events": [event.raw for event in explanation.events],
    }


def _show(endpoint: "GetModelEndpointV1Response", explanation: "Explanation") -> None:
    state = endpoint.deployment_state
    show_fields(
        [
            ("name", endpoint.name),
            ("id", endpoint.id),
            ("type", endpoint.endpoint_type.value),
            ("bundle", endpoint.bundle_name),
            ("status", endpoint.status.value),
            ("workers", state and f"{state.available_workers or 0} of {state.min_workers}-{state.max_workers}"),
            ("code", explanation.code),
            ("cause", explanation.cause),
            ("exit code", explanation.exit_code),
            ("remedy", explanation.remedy),
        ]
    )
    if explanation.log_lines:
        typer.echo("\nLast lines of the log:")
        for line in explanation.log_lines:
            typer.echo(f"  {line}")
    typer.echo("\nRecent events:")
    for event in explanation.events:
        typer.echo(event_line(event))
