"""Commands on API keys, for the administrator of a platform."""

from typing import Annotated

import typer

from model_engine.cli.options import DataDir, Output, Url, connect_as_administrator
from model_engine.cli.output import show_fields, show_json, show_table

app = typer.Typer(
    help="Make, list and revoke API keys, as the administrator whose token lies in the data directory.",
    no_args_is_help=True,
)


@app.command()
def create(
    owner: Annotated[str, typer.Option(help="Whose endpoints the key opens.")],
    output: Output = "table",
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key for an owner. It is shown this once."""
    with connect_as_administrator(url, data_dir) as client:
        created = client.create_api_key(owner)
    if output == "json":
        show_json(created)
    else:
        show_fields([("key", created.key), ("id", created.id), ("owner", created.owner)])


@app.command("list")
def list_keys(output: Output = "table", url: Url = None, data_dir: DataDir = None) -> None:
    """List all keys, revoked ones included."""
    with connect_as_administrator(url, data_dir) as client:
        keys = client.api_keys()
    if output == "json":
        show_json(keys)
        return
    rows = [
        (key.id, key.owner, key.user, f"{key.created_at:%Y-%m-%d %H:%M:%S}", "revoked" if key.revoked_at else "")
        for key in keys
    ]
    show_table(("ID", "OWNER", "USER", "CREATED", ""), rows)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="Id of the key, not the key itself.")],
    output: Output = "table",
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Revoke a key; it is refused everywhere within a second."""
    with connect_as_administrator(url, data_dir) as client:
        client.revoke_api_key(key_id)
    if output == "json":
        show_json({"id": key_id, "revoked": True})
    else:
        typer.echo(f"{key_id} is revoked.")
