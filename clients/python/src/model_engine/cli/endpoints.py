"""Commands on endpoints: deploy, list, get, delete."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from model_engine.cli.options import ApiKey, DataDir, Output, Timeout, Url, connect, read_object
from model_engine.cli.output import say, show_fields, show_json, show_table, waiting
from model_engine.errors import RefusedError

if TYPE_CHECKING:
    from model_engine.bundling import Bundle
    from model_engine_contracts.api.endpoints import GetModelEndpointV1Response

app = typer.Typer()

Name = Annotated[str, typer.Argument(help="Name or id of an endpoint.")]

_SCALING = "Scaling"
_WORKER = "One worker"


@app.command()
def deploy(
    name: Annotated[str, typer.Argument(help="Name of the endpoint; one that exists is updated.")],
    source: Annotated[Path, typer.Argument(help="Python file with the bundle's functions.")],
    load_predict: Annotated[
        str, typer.Option(help="Function of the file that is given the model and gives the predict function.")
    ] = "load_predict_fn",
    load_model: Annotated[
        str, typer.Option(help="Function of the file that gives the model; it may be missing.")
    ] = "load_model_fn",
    requirement: Annotated[
        list[str] | None, typer.Option("--requirement", "-r", help="A pip line that workers need; repeatable.")
    ] = None,
    requirements: Annotated[Path | None, typer.Option(help="File of such lines.")] = None,
    app_config: Annotated[str | None, typer.Option(help="JSON object for the bundle's functions, or @FILE.")] = None,
    endpoint_type: Annotated[
        Literal["sync", "async", "streaming"] | None,
        typer.Option("--type", help="How it is called.", show_default="sync"),
    ] = None,
    cpus: Annotated[str | None, typer.Option(help="Cores.", show_default="1", rich_help_panel=_WORKER)] = None,
    memory: Annotated[
        str | None, typer.Option(help="Bytes, or such as 512Mi.", show_default="1Gi", rich_help_panel=_WORKER)
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="Bytes, or such as 5Gi.", show_default="1Gi", rich_help_panel=_WORKER)
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs.", show_default="0", rich_help_panel=_WORKER)] = None,
    gpu_type: Annotated[str | None, typer.Option(help="Such as nvidia-ampere-a10.", rich_help_panel=_WORKER)] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Requests that run at once.", rich_help_panel=_WORKER)
    ] = None,
    min_workers: Annotated[
        int | None, typer.Option(min=0, help="0 lets it sleep.", show_default="1", rich_help_panel=_SCALING)
    ] = None,
    max_workers: Annotated[
        int | None, typer.Option(min=0, help="How far it may grow.", show_default="1", rich_help_panel=_SCALING)
    ] = None,
    per_worker: Annotated[
        int | None,
        typer.Option(min=1, help="Requests per worker to aim at.", show_default="1", rich_help_panel=_SCALING),
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; repeatable.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until a worker answers.")] = True,
    timeout: Timeout = 900,
    output: Output = "table",
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """Pickle the functions of a Python file, upload them, and make an endpoint run them.

    Settings that are not given are the defaults for a new endpoint, and stay as they are for one that exists.
    """
    from model_engine.deployment import EndpointSettings

    settings = EndpointSettings(
        endpoint_type=endpoint_type,
        cpus=cpus,
        memory=memory,
        storage=storage,
        gpus=gpus,
        gpu_type=gpu_type,
        concurrent_requests_per_worker=concurrency,
        min_workers=min_workers,
        max_workers=max_workers,
        per_worker=per_worker,
        labels=_labels(label or []),
    )
    lines = [*(requirement or []), *_requirement_lines(requirements)]
    config = None if app_config is None else read_object(app_config, "--app-config")
    bundle = _load_bundle(source, load_predict, load_model, lines, config)
    with connect(url, api_key, data_dir) as client:
        endpoint = client.deploy(name, bundle, settings)
        if wait:
            with waiting(f"{name} is being deployed"):
                endpoint = client.wait_until_ready(endpoint.id, timeout, _say_progress)
    _show_endpoint(endpoint, output)


@app.command("list")
def list_endpoints(output: Output = "table", url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None) -> None:
    """List your endpoints."""
    with connect(url, api_key, data_dir) as client:
        endpoints = client.endpoints()
    if output == "json":
        show_json(endpoints)
        return
    rows = [
        (e.name, e.endpoint_type.value, e.status.value, _workers(e), e.id, e.status_reason or "") for e in endpoints
    ]
    show_table(("NAME", "TYPE", "STATUS", "WORKERS", "ID", "REASON"), rows)


@app.command()
def get(
    name: Name, output: Output = "table", url: Url = None, api_key: ApiKey = None, data_dir: DataDir = None
) -> None:
    """Show one endpoint."""
    with connect(url, api_key, data_dir) as client:
        endpoint = client.endpoint(name)
    _show_endpoint(endpoint, output)


@app.command()
def delete(
    name: Name,
    timeout: Timeout = 120,
    output: Output = "table",
    url: Url = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """Delete an endpoint and wait until nothing of it is left."""
    with connect(url, api_key, data_dir) as client:
        endpoint = client.endpoint(name)
        with waiting(f"{name} is being deleted"):
            client.delete(endpoint.id, timeout)
    if output == "json":
        show_json({"id": endpoint.id, "deleted": True})
    else:
        typer.echo(f"{endpoint.name} is deleted.")


def _load_bundle(
    source: Path, load_predict: str, load_model: str, requirements: list[str], app_config: dict[str, Any] | None
) -> "Bundle":
    from model_engine.bundling import Bundle, load_source

    module = load_source(source)
    load_predict_fn = getattr(module, load_predict, None)
    if not callable(load_predict_fn):
        raise RefusedError(f"{source} has no function {load_predict}; name another one by --load-predict.")
    return Bundle(
        load_predict_fn=load_predict_fn,
        load_model_fn=getattr(module, load_model, None),
        requirements=tuple(requirements),
        app_config=app_config,
    )


def _requirement_lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise typer.BadParameter(f"--requirements: {error}") from error
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _labels(pairs: list[str]) -> dict[str, str] | None:
    if not pairs:
        return None
    if bad := [pair for pair in pairs if "=" not in pair]:
        raise typer.BadParameter(f"--label must be KEY=VALUE, not {bad[0]!r}.")
    return dict(pair.split("=", 1) for pair in pairs)


def _say_progress(endpoint: "GetModelEndpointV1Response") -> None:
    reason = f": {endpoint.status_reason}" if endpoint.status_reason else ""
    say(f"{endpoint.name} {endpoint.status.value}, workers {_workers(endpoint)}{reason}")


def _workers(endpoint: "GetModelEndpointV1Response") -> str:
    """Answering workers and the bounds, as `1 of 0-4`."""
    state = endpoint.deployment_state
    if state is None:
        return "-"
    return f"{state.available_workers or 0} of {state.min_workers}-{state.max_workers}"


def _show_endpoint(endpoint: "GetModelEndpointV1Response", output: str) -> None:
    if output == "json":
        show_json(endpoint)
        return
    resources = endpoint.resource_state
    show_fields(
        [
            ("name", endpoint.name),
            ("id", endpoint.id),
            ("type", endpoint.endpoint_type.value),
            ("status", endpoint.status.value),
            ("reason", endpoint.status_reason),
            ("workers", _workers(endpoint)),
            ("queued", endpoint.num_queued_items),
            ("bundle", endpoint.bundle_name),
            ("cpus", resources and resources.cpus),
            ("memory", resources and resources.memory),
            ("labels", endpoint.labels and ", ".join(f"{k}={v}" for k, v in endpoint.labels.items())),
            ("created", f"{endpoint.created_at:%Y-%m-%d %H:%M:%S} by {endpoint.created_by}"),
            ("changed", f"{endpoint.last_updated_at:%Y-%m-%d %H:%M:%S}"),
        ]
    )
