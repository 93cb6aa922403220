"""The environment's checks: every wrong variable is named at once."""

from pathlib import Path

import pytest

from model_engine_model_server.settings import TABLE, SettingsError, read_settings


def test_what_is_not_set_has_the_documented_default() -> None:
    settings = read_settings({"ME_BUNDLE_KIND": "cloudpickle", "ME_ARTIFACT_PATH": "/a"})
    assert settings.artifact_path == Path("/a")
    assert (settings.port, settings.concurrency, settings.user_config) == (5005, 1, None)
    for default in (settings.queue_size, settings.url_max_bytes, settings.drain_seconds):
        assert f"| {default} |" in TABLE


def test_every_wrong_variable_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({"ME_BUNDLE_KIND": "zip", "PORT": "many", "USER_CONFIG": "{", "ME_MODEL_CONCURRENCY": "0"})
    named = {line.split(":")[0] for line in str(caught.value).splitlines()}
    assert named == {
        "ME_ARTIFACT_PATH",
        "ME_LOAD_PREDICT_FN_MODULE_PATH",
        "ME_LOAD_MODEL_FN_MODULE_PATH",
        "PORT",
        "USER_CONFIG",
        "ME_MODEL_CONCURRENCY",
    }


def test_the_readme_shows_the_table() -> None:
    readme = Path(__file__).parent.parent / "README.md"
    assert readme.read_text(encoding="utf-8").endswith(TABLE)
