"""Every rule of the API on bundles, endpoints and predictions, and for each that the table notices its absence."""

import inspect
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_rules import bundle_rows, endpoint_rows, field_rows, resource_rows, task_rows
from api_rules.execution import Execution, Table, switched_off
from api_rules.gateway import GatewayThread
from api_rules.row import Off, Row
from model_engine_gateway.domain import endpoint_changes
from model_engine_local.servers import NatsServer, ValkeyServer

ROWS: list[Row] = [
    *field_rows.ROWS,
    *resource_rows.ROWS,
    *bundle_rows.ROWS,
    *endpoint_rows.ROWS,
    *task_rows.ROWS,
]
VALIDATED = [row for row in ROWS if row.off is not None]


@pytest.fixture(scope="module")
def table(mongo_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    """One gateway for all rows."""
    folder: Path = tmp_path_factory.mktemp("api-rules")
    nats = NatsServer(folder / "nats", die_with_parent=True)
    valkey = ValkeyServer(folder / "valkey", die_with_parent=True)
    nats.start()
    valkey.start()
    gateway = GatewayThread(nats.url, mongo_url, valkey.url)
    gateway.start()
    table = Table(gateway)
    yield table
    table.callers.close()
    gateway.stop()
    nats.kill()
    valkey.kill()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_the_api_keeps_its_rule(table: Table, row: Row) -> None:
    table.run(row)


@pytest.mark.parametrize("row", VALIDATED, ids=lambda row: row.id)
def test_the_table_notices_when_the_rule_is_switched_off(table: Table, row: Row) -> None:
    assert row.off is not None
    execution = Execution(table, row)
    execution.prepare()
    with switched_off(row.off), pytest.raises(AssertionError):
        execution.check(seconds=3.0)


def test_every_check_of_endpoints_has_rows() -> None:
    checks = {name for name, _ in inspect.getmembers(endpoint_changes, inspect.isfunction) if name.startswith("check_")}
    named = {row.off.attribute for row in ROWS if isinstance(row.off, Off)}
    assert checks - named == {"check_new_endpoint", "check_update"}, "these two only call the others"


def test_rows_are_told_apart_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert [name for name, count in Counter(row.id for row in ROWS).items() if count > 1] == []
    rows, checked = Counter(row.section for row in ROWS), Counter(row.section for row in VALIDATED)
    with capsys.disabled():
        print(f"\nrules of the API: {len(ROWS)} rows, {len(VALIDATED)} with a validator that was switched off")
        for section in sorted(rows):
            print(f"  section {section}: {rows[section]} rows, {checked[section]} switched off")
