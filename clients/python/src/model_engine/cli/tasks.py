"""Commands on async tasks."""

from typing import Annotated

import typer

from model_engine.cli.options import ApiKey, DataDir, Output, Timeout, Url, connect
from model_engine.cli.output import show_fields, show_json, waiting

app = typer.Typer(help="Look at async tasks.", no_args_is_help=True)


@app.command()
def get(
    task_id: Annotated[str, typer.Argument(help="Id of a task.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended; a failure is then an error.")] = False,
    timeout: Timeout = 300,
    output: Output = "table",
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """Show where a task stands, and its result. A task that nobody knows reads PENDING."""
    with connect(url, api_key, data_dir) as client:
        if wait:
            with waiting(f"task {task_id}"):
                client.wait_for_task(task_id, timeout)
        task = client.task(task_id)
    if output == "json":
        show_json(task)
        return
    show_fields(
        [
            ("task", task.task_id),
            ("status", task.status.value),
            ("status code", task.status_code),
            ("result", task.result),
            ("traceback", task.traceback),
        ]
    )
