"""Commands on webhooks: subscriptions to events."""

from typing import TYPE_CHECKING, Annotated

import typer

from model_engine.cli.options import ApiKey, DataDir, Output, Url, connect
from model_engine.cli.output import say, show_fields, show_json, show_table

if TYPE_CHECKING:
    from model_engine_contracts.api.subscriptions import EventDelivery, EventSubscriptionResponse

app = typer.Typer(help="Have events posted to an address of yours.", no_args_is_help=True)

WebhookId = Annotated[str, typer.Argument(help="Id of a webhook.")]


@app.command()
def create(
    address: Annotated[str, typer.Argument(help="http or https address that events are posted to.")],
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only events of this type; may be repeated.")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="Only events about this endpoint, by name or id.")] = None,
    after: Annotated[
        int | None,
        typer.Option(min=0, help="Position to begin after; 0 is the oldest event kept. Else what happens next."),
    ] = None,
    output: Output = "table",
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """Subscribe an address to events. The secret that signs them is shown this once."""
    with connect(url, api_key, data_dir) as client:
        endpoint_id = None if endpoint is None else client.endpoint(endpoint).id
        created = client.create_subscription(address, types=types, endpoint_id=endpoint_id, after=after)
    if output == "json":
        show_json(created)
    else:
        show_fields([("secret", created.secret), *_fields(created)])


@app.command("list")
def list_webhooks(output: Output = "table", url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None) -> None:
    """List webhooks."""
    with connect(url, api_key, data_dir) as client:
        found = client.subscriptions()
    if output == "json":
        show_json(found)
        return
    rows = [(one.id, one.status.value, str(one.position), _failing(one), one.url) for one in found]
    show_table(("ID", "STATUS", "POSITION", "FAILING SINCE", "ADDRESS"), rows)


@app.command()
def get(
    webhook_id: WebhookId, output: Output = "table", url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None
) -> None:
    """Show one webhook: how far it is, and since when it fails."""
    with connect(url, api_key, data_dir) as client:
        found = client.subscription(webhook_id)
    if output == "json":
        show_json(found)
    else:
        show_fields(_fields(found))


@app.command()
def delete(
    webhook_id: WebhookId, output: Output = "table", url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None
) -> None:
    """Delete a webhook; nothing is posted to it any more."""
    with connect(url, api_key, data_dir) as client:
        client.delete_subscription(webhook_id)
    if output == "json":
        show_json({"id": webhook_id, "deleted": True})
    else:
        typer.echo(f"{webhook_id} is deleted.")


@app.command("test")
def send_test(
    webhook_id: WebhookId, output: Output = "table", url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None
) -> None:
    """Post a test event now and show what became of it; status 1 when it was not delivered."""
    with connect(url, api_key, data_dir) as client:
        delivery = client.test_subscription(webhook_id)
    if output == "json":
        show_json(delivery)
    elif delivery.delivered:
        typer.echo(f"delivered: {delivery.status_code} in {delivery.seconds:.3f} s")
    else:
        say(f"not delivered: {delivery.error}")
    if not delivery.delivered:
        raise typer.Exit(1)


@app.command()
def deliveries(
    webhook_id: WebhookId,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many at most.")] = 20,
    output: Output = "table",
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """Show the last attempts, newest first."""
    with connect(url, api_key, data_dir) as client:
        found = client.subscription_deliveries(webhook_id, limit)
    if output == "json":
        show_json(found)
    else:
        columns = ("TIME", "POSITION", "TYPE", "ATTEMPT", "SECONDS", "OUTCOME")
        show_table(columns, [_row(delivery) for delivery in found])


def _fields(one: "EventSubscriptionResponse") -> list[tuple[str, object]]:
    return [
        ("webhook", one.id),
        ("address", one.url),
        ("types", ", ".join(one.types) if one.types else "all"),
        ("endpoint", one.endpoint_id),
        ("status", one.status.value),
        ("because", one.disabled_reason),
        ("position", one.position),
        ("failing since", _failing(one) or None),
        ("attempts", one.attempts or None),
        ("next attempt", one.next_attempt_at and f"{one.next_attempt_at:%Y-%m-%d %H:%M:%S}"),
    ]


def _failing(one: "EventSubscriptionResponse") -> str:
    return f"{one.failing_since:%Y-%m-%d %H:%M:%S}" if one.failing_since else ""


def _row(delivery: "EventDelivery") -> tuple[str, ...]:
    return (
        f"{delivery.at:%Y-%m-%d %H:%M:%S}",
        "test" if delivery.position is None else str(delivery.position),
        delivery.type.removeprefix("modelengine."),
        str(delivery.attempt),
        f"{delivery.seconds:.3f}",
        str(delivery.status_code) if delivery.error is None else delivery.error,
    )
