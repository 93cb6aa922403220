"""Where the address and the key come from, and what is said when there are none."""

import stat
from pathlib import Path

import pytest

from model_engine.connection import Connection, resolve_admin_connection, resolve_connection, write_connection
from model_engine.errors import SettingsError


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ME_URL", "ME_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ME_DATA_DIR", str(tmp_path / "default"))
    (tmp_path / "default").mkdir()


def test_arguments_win_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_connection(tmp_path / "default", Connection("http://file", "file-key"))
    assert resolve_connection() == Connection("http://file", "file-key")
    monkeypatch.setenv("ME_URL", "http://environment/")
    monkeypatch.setenv("ME_API_KEY", "environment-key")
    assert resolve_connection() == Connection("http://environment", "environment-key")
    assert resolve_connection("http://argument", "argument-key") == Connection("http://argument", "argument-key")


def test_a_data_directory_that_is_named_wins_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ME_URL", "http://environment")
    monkeypatch.setenv("ME_API_KEY", "environment-key")
    write_connection(tmp_path, Connection("http://named", "named-key"))
    (tmp_path / "admin-token").write_text("the-token\n")
    assert resolve_connection(data_dir=tmp_path) == Connection("http://named", "named-key")
    assert resolve_admin_connection(data_dir=tmp_path) == Connection("http://named", "the-token")


def test_only_the_owner_reads_the_file(tmp_path: Path) -> None:
    write_connection(tmp_path, Connection("http://x", "key"))
    assert stat.S_IMODE((tmp_path / "client.json").stat().st_mode) == 0o600


def test_what_is_missing_is_said_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="set ME_URL, pass --url, or start one"):
        resolve_connection()
    with pytest.raises(SettingsError, match="set ME_API_KEY"):
        resolve_connection("http://x")
    with pytest.raises(SettingsError, match="--data-dir"):
        resolve_admin_connection("http://x")
    (tmp_path / "client.json").write_text("{")
    with pytest.raises(SettingsError, match="cannot be read"):
        resolve_connection(data_dir=tmp_path)
