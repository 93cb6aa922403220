"""Bundles that load where neither the user's file nor the modules beside it exist."""

import subprocess
import sys
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from model_engine.bundling import Bundle, load_source, source_of, write_bundle
from model_engine.errors import RefusedError

HELPER = "def double(x):\n    return 2 * x\n"
SOURCE = """
from bundling_test_helper import double

FACTOR = 3

def load_model_fn():
    return FACTOR

def load_predict_fn(model):
    def predict(x):
        return double(x) * model
    return predict
"""
LOAD_ELSEWHERE = """
import pickle, sys
bundle = pickle.load(open(sys.argv[1], "rb"))
assert "bundling_test_helper" not in sys.modules
print(next(iter(bundle)), bundle["load_predict_fn"](bundle["load_model_fn"]())(7))
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file of functions and a module beside it; what importing them leaves behind is undone."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "bundling_test_helper.py").write_text(HELPER)
    (folder / "bundling_test_source.py").write_text(SOURCE)
    yield folder / "bundling_test_source.py"
    for name in ("bundling_test_helper", "bundling_test_source"):
        sys.modules.pop(name, None)


def test_bundles_may_be_written_in_several_threads(source: Path, tmp_path: Path) -> None:
    module = load_source(source)
    bundle = Bundle(load_predict_fn=module.load_predict_fn, load_model_fn=module.load_model_fn)

    def pickled(number: int) -> bytes:
        write_bundle(tmp_path / str(number), bundle)
        return (tmp_path / str(number)).read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(pickled, range(32)))) == 1, "a module went by name in one of them"


def test_the_modules_beside_the_functions_travel_with_them(source: Path, tmp_path: Path) -> None:
    module = load_source(source)
    artifact = tmp_path / "artifact"
    write_bundle(artifact, Bundle(load_predict_fn=module.load_predict_fn, load_model_fn=module.load_model_fn))
    run = subprocess.run(
        [sys.executable, "-c", LOAD_ELSEWHERE, str(artifact)], cwd="/", capture_output=True, text=True, check=False
    )
    assert run.stdout == "python_version 42\n", run.stderr


def test_installed_packages_travel_by_name(tmp_path: Path) -> None:
    import httpx

    artifact = tmp_path / "artifact"
    write_bundle(artifact, Bundle(load_predict_fn=lambda model: httpx.get, model=[httpx.Client]))
    assert b"trust_env" not in artifact.read_bytes()


def test_what_cannot_be_pickled_is_said(tmp_path: Path) -> None:
    generator: Any = (x for x in ())
    assert isinstance(generator, types.GeneratorType)
    with pytest.raises(RefusedError, match="cannot be pickled: TypeError"):
        write_bundle(tmp_path / "artifact", Bundle(load_predict_fn=lambda model: model, model=generator))


def test_a_file_that_is_no_module_is_said(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="is not a Python file"):
        load_source(tmp_path / "missing.py")
    source.write_text("import no_such_module")
    with pytest.raises(RefusedError, match="ModuleNotFoundError: No module named 'no_such_module'"):
        load_source(source)
    shadowing = tmp_path / "json.py"
    shadowing.touch()
    with pytest.raises(RefusedError, match="rename it"):
        load_source(shadowing)


def test_the_source_is_shown_where_there_is_one() -> None:
    assert "def test_the_source_is_shown" in source_of(test_the_source_is_shown_where_there_is_one)
    assert source_of(len) == "len"
    assert source_of(None) == ""
