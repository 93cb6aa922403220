"""Commands on dead letters: tasks that failed, and may be run again."""

import typer

from model_engine.cli.options import ApiKey, DataDir, Output, Url, connect
from model_engine.cli.output import show_fields, show_json, show_table
from model_engine.cli.tasks import Cursor, Limit, OfEndpoint, TaskId, say_more

app = typer.Typer(help="Look at failed tasks, and run them again.", no_args_is_help=True)


@app.command("list")
def list_dead_letters(
    endpoint: OfEndpoint = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    output: Output = "table",
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """List failed tasks, those submitted last first."""
    with connect(url, api_key, data_dir) as client:
        endpoint_id = None if endpoint is None else client.endpoint(endpoint).id
        page = client.dead_letters(endpoint_id=endpoint_id, limit=limit, cursor=cursor)
    if output == "json":
        show_json(page)
        return
    rows = [
        (one.task_id, one.endpoint_id, str(one.attempt), f"{one.failed_at:%Y-%m-%d %H:%M:%S}", one.error)
        for one in page.dead_letters
    ]
    show_table(("TASK", "ENDPOINT", "ATTEMPT", "FAILED", "ERROR"), rows)
    say_more(page.next_cursor)


@app.command()
def get(
    task_id: TaskId, output: Output = "table", url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None
) -> None:
    """Show a failed task: its request, how often it was tried, and what went wrong last."""
    with connect(url, api_key, data_dir) as client:
        found = client.dead_letter(task_id)
    if output == "json":
        show_json(found)
        return
    show_fields(
        [
            ("task", found.task_id),
            ("endpoint", found.endpoint_id),
            ("attempt", found.attempt),
            ("deliveries", found.deliveries),
            ("submitted", f"{found.submitted_at:%Y-%m-%d %H:%M:%S}"),
            ("failed", f"{found.failed_at:%Y-%m-%d %H:%M:%S}"),
            ("worker", found.worker),
            ("error", found.error),
            ("traceback", found.traceback),
            ("request", found.request),
        ]
    )


@app.command()
def replay(
    task_id: TaskId, output: Output = "table", url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None
) -> None:
    """Queue a failed task again, under its id and with the request it had."""
    with connect(url, api_key, data_dir) as client:
        attempt = client.replay_dead_letter(task_id)
    if output == "json":
        show_json({"task_id": task_id, "attempt": attempt})
    else:
        typer.echo(f"{task_id} is queued again: attempt {attempt}")
