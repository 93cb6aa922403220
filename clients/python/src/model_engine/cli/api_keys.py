"""Commands on API keys, for the administrator of a platform."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from model_engine.cli.options import DataDir, Output, Url, connect_as_administrator, read_duration
from model_engine.cli.output import show_fields, show_json, show_table

if TYPE_CHECKING:
    from model_engine_contracts.api.api_keys import ApiKeyResponse, CreateApiKeyResponse

_TIME = "%Y-%m-%d %H:%M:%S"

Expires = Annotated[str | None, typer.Option(help="How long the key is valid, such as 30d; without it: until revoked.")]

app = typer.Typer(
    help="Make, list, rotate and revoke API keys, as the administrator whose token lies in the data directory.",
    no_args_is_help=True,
)


@app.command()
def create(
    owner: Annotated[str, typer.Option(help="Whose endpoints the key opens.")],
    user: Annotated[str | None, typer.Option(help="Who uses it, for the records; else the owner.")] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What the key may do: read, invoke or manage; repeatable. Without it: everything."),
    ] = None,
    expires: Expires = None,
    unprivileged: Annotated[
        bool, typer.Option("--unprivileged", help="The key cannot create bundles with images of their own.")
    ] = False,
    output: Output = "table",
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key for an owner. It is shown this once."""
    from model_engine_contracts.api.api_keys import ALL_SCOPES, AccessScope

    lifetime = _lifetime(expires)
    try:
        scopes = [AccessScope(name) for name in scope or ALL_SCOPES]
    except ValueError as error:
        raise typer.BadParameter(f"--scope must be one of {', '.join(ALL_SCOPES)}: {error}") from error
    with connect_as_administrator(url, data_dir) as client:
        created = client.create_api_key(
            owner,
            user=user,
            scopes=scopes,
            expires_in_seconds=lifetime,
            privileged=not unprivileged,
        )
    if output == "json":
        show_json(created)
    else:
        show_fields(_fields(created))


@app.command()
def rotate(
    key_id: Annotated[str, typer.Argument(help="Id of the key to replace, not the key itself.")],
    overlap: Annotated[str, typer.Option(help="How long the old key stays valid beside the new one, such as 1h.")],
    expires: Expires = None,
    output: Output = "table",
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key that takes the place of another. The new one is shown this once."""
    seconds, lifetime = read_duration(overlap, "--overlap"), _lifetime(expires)
    with connect_as_administrator(url, data_dir) as client:
        created = client.rotate_api_key(key_id, overlap_seconds=seconds, expires_in_seconds=lifetime)
    if output == "json":
        show_json(created)
    else:
        ends = f"{created.replaced_expires_at:{_TIME}}"
        show_fields([*_fields(created), ("replaces", f"{created.replaces}, which ends {ends}")])


@app.command("list")
def list_keys(output: Output = "table", url: Url = None, data_dir: DataDir = None) -> None:
    """List all keys, revoked and expired ones included."""
    with connect_as_administrator(url, data_dir) as client:
        keys = client.api_keys()
    if output == "json":
        show_json(keys)
        return
    rows = [
        (key.id, key.owner, key.user, ",".join(key.scopes), f"{key.created_at:{_TIME}}", _state(key)) for key in keys
    ]
    show_table(("ID", "OWNER", "USER", "SCOPES", "CREATED", ""), rows)


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


def _lifetime(expires: str | None) -> int | None:
    return None if expires is None else read_duration(expires, "--expires")


def _fields(created: "CreateApiKeyResponse") -> list[tuple[str, str]]:
    fields = [("key", created.key), ("id", created.id), ("owner", created.owner), ("scopes", ",".join(created.scopes))]
    return fields if created.expires_at is None else [*fields, ("expires", f"{created.expires_at:{_TIME}}")]


def _state(key: "ApiKeyResponse") -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return ""
    return f"{'expired' if key.expires_at <= datetime.now(UTC) else 'expires'} {key.expires_at:{_TIME}}"
