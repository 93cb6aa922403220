"""Settings: from variables and files; whoever starts a service with wrong ones learns of every wrong key at once."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from model_engine_chassis.settings_base import (
    MongoSettings,
    NatsSettings,
    ServiceSettings,
    SettingsError,
    load_settings,
    settings_table,
)


class ExampleSettings(NatsSettings, MongoSettings, ServiceSettings):
    """What a service might have."""

    workers: int = Field(default=2, ge=1, description="how many")
    mode: Literal["fast", "safe"] = Field(default="safe", description="how")
    admin_token: str = Field(min_length=4, repr=False, description="who")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "ME_NATS_URL": "nats://h:4222",
        "ME_MONGO_URL": "mongodb://user:hidden@h",
        "ME_ADMIN_TOKEN": "hidden-token",
    }.items():
        monkeypatch.setenv(name, value)


def problems_of() -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load_settings(ExampleSettings)
    return raised.value.problems


def test_variables_are_read_and_the_result_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ME_WORKERS", "7")
    settings = load_settings(ExampleSettings)
    assert (settings.workers, settings.mode, settings.nats_url) == (7, "safe", "nats://h:4222")
    with pytest.raises(ValueError, match="frozen"):
        settings.workers = 8  # type: ignore[misc]  # the refusal is what is tested


def test_every_wrong_key_is_listed_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ME_NATS_URL")
    monkeypatch.setenv("ME_WORKERS", "none")
    monkeypatch.setenv("ME_MODE", "quick")
    monkeypatch.setenv("ME_ADMIN_TOKEN", "abc")
    problems = problems_of()
    assert len(problems) == 4
    text = "\n".join(problems)
    for part in ("ME_NATS_URL is missing: set it, or ME_NATS_URL_FILE", "ME_WORKERS", "'fast' or 'safe'"):
        assert part in text
    assert "abc" not in text, "a refused secret is not shown"


def test_an_empty_variable_is_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ME_NATS_URL", "")
    monkeypatch.setenv("ME_WORKERS", "")
    assert [problem.split()[0] for problem in problems_of()] == ["ME_NATS_URL"]


def test_a_file_gives_the_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ME_ADMIN_TOKEN")
    (tmp_path / "token").write_text("from-file\n")
    monkeypatch.setenv("ME_ADMIN_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("ME_WORKERS_FILE", str(tmp_path / "workers"))
    (tmp_path / "workers").write_text("5")
    settings = load_settings(ExampleSettings)
    assert (settings.admin_token, settings.workers) == ("from-file", 5)


def test_files_that_cannot_be_read_are_listed_beside_other_problems(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ME_ADMIN_TOKEN")
    monkeypatch.delenv("ME_NATS_URL")
    monkeypatch.setenv("ME_ADMIN_TOKEN_FILE", str(tmp_path / "absent"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("ME_NATS_TOKEN_FILE", str(tmp_path / "binary"))
    text = "\n".join(problems_of())
    assert f"ME_ADMIN_TOKEN_FILE: {tmp_path}/absent cannot be read: No such file" in text
    assert f"ME_NATS_TOKEN_FILE: {tmp_path}/binary cannot be read: it is not UTF-8 text" in text
    assert "ME_NATS_URL is missing" in text


def test_secrets_are_not_in_the_representation() -> None:
    assert "hidden" not in repr(load_settings(ExampleSettings))


def test_the_table_names_every_setting_those_without_default_first() -> None:
    rows = settings_table(ExampleSettings).splitlines()
    assert rows[2].startswith("| `ME_ADMIN_TOKEN` | str | **required** | who |")
    assert "| `ME_WORKERS` | int | `2` | how many |" in rows
    assert any(row.startswith("| `ME_INSTANCE_ID` | str | computed |") for row in rows)
    assert all(row.count("|") == 5 for row in rows), "no cell breaks the table"
