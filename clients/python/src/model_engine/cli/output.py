"""How commands speak: results on stdout as tables or JSON, all else on stderr. rich is loaded when it is used."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer


def say(text: str) -> None:
    """One line for the person at the terminal, on stderr."""
    typer.secho(text, err=True, dim=True)


def show_json(value: Any) -> None:
    """Indented JSON on stdout; `value` may be or hold models of the API."""
    typer.echo(json.dumps(value, indent=2, default=_plain, ensure_ascii=False))


def show_json_line(value: Any) -> None:
    """JSON on one line of stdout, for streams."""
    typer.echo(json.dumps(value, default=_plain, ensure_ascii=False))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_escaped(cell) for cell in row))
    Console().print(table)


def show_fields(fields: Iterable[tuple[str, Any]]) -> None:
    """Names and values below one another; values that are None are left out."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in fields:
        if value is not None:
            table.add_row(name, _escaped(str(value)))
    Console().print(table)


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """A spinner on stderr while something is waited for, when stderr is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _plain(value: Any) -> Any:
    # By its method rather than by its class: importing pydantic would slow every command down, `--help` too.
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} cannot be shown as JSON")
