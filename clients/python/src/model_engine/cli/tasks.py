"""Commands on async tasks."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from model_engine.cli.options import ApiKey, DataDir, Output, Timeout, Url, connect
from model_engine.cli.output import say, show_fields, show_json, show_table, waiting

if TYPE_CHECKING:
    from model_engine_contracts.api.tasks import GetAsyncTaskV1Response

app = typer.Typer(help="Look at async tasks, wait for them, cancel them.", no_args_is_help=True)

TaskId = Annotated[str, typer.Argument(help="Id of a task.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")]
Cursor = Annotated[str | None, typer.Option(help="Go on after an earlier list, which says this.")]
OfEndpoint = Annotated[str | None, typer.Option("--endpoint", help="Only those of this endpoint, by name or id.")]


@app.command()
def get(
    task_id: TaskId,
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
    _show(task, output)


@app.command("wait")
def wait_for(
    task_id: TaskId,
    timeout: Timeout = 300,
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """Wait until a task has ended and print its value as JSON; a failure is an error."""
    with connect(url, api_key, data_dir) as client, waiting(f"task {task_id}"):
        value = client.wait_for_task(task_id, timeout)
    show_json(value)


@app.command("list")
def list_tasks(
    endpoint: OfEndpoint = None,
    status: Annotated[
        Literal["PENDING", "STARTED", "SUCCESS", "FAILURE", "UNDEFINED"] | None,
        typer.Option(help="Only those of this status."),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    output: Output = "table",
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """List tasks, those submitted last first."""
    from model_engine_contracts.api.tasks import TaskStatus

    with connect(url, api_key, data_dir) as client:
        endpoint_id = None if endpoint is None else client.endpoint(endpoint).id
        wanted = None if status is None else TaskStatus(status)
        page = client.tasks(endpoint_id=endpoint_id, status=wanted, limit=limit, cursor=cursor)
    if output == "json":
        show_json(page)
        return
    rows = [
        (task.task_id, task.state, task.endpoint_id, f"{task.submitted_at:%Y-%m-%d %H:%M:%S}", task.error or "")
        for task in page.async_tasks
    ]
    show_table(("ID", "STATE", "ENDPOINT", "SUBMITTED", "ERROR"), rows)
    say_more(page.next_cursor)


@app.command()
def cancel(
    task_id: TaskId, output: Output = "table", url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None
) -> None:
    """Cancel a task, whether it is queued or running; one that has ended stays as it is."""
    with connect(url, api_key, data_dir) as client:
        answer = client.cancel_task(task_id)
    if output == "json":
        show_json(answer)
    elif answer.cancelled:
        typer.echo(f"{task_id} is cancelled.")
    else:
        typer.echo(f"{task_id} has ended already: {answer.status.value}")


def say_more(next_cursor: str | None) -> None:
    """How to see the next page, on stderr."""
    if next_cursor is not None:
        say(f"there are more: --cursor {next_cursor}")


def _show(task: "GetAsyncTaskV1Response", output: str) -> None:
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
