"""How each kind of bundle is called while it loads, and which code each way of failing gets."""

import os
import pickle
import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from model_engine_model_server.failures import LoadError, write_termination_file
from model_engine_model_server.loader import load_bundle, load_object
from model_engine_model_server.settings import Settings


class Recorder:
    """A load function that remembers its arguments and gives back what it was made with."""

    def __init__(self, result: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.result = result

    def __call__(self, *arguments: Any) -> Any:
        self.calls.append(arguments)
        return self.result


class WithInit:
    def __init__(self) -> None:
        self.config: Any = "never called"

    def init(self, config: Any) -> None:
        self.config = config

    def __call__(self, x: int) -> int:
        return x


def predict(x: int = 0) -> int:
    return x


def load_pickle(tmp_path: Path, data: bytes) -> Any:
    path = tmp_path / "artifact"
    path.write_bytes(data)
    return load_bundle(Settings("cloudpickle", path))


def code_of(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(LoadError) as caught:
        load_pickle(tmp_path, data)
    return caught.value.code


@pytest.mark.parametrize(
    ("config", "model_call", "predict_call"),
    [(None, (), ("the model",)), ({"a": 1}, ({"a": 1},), ({"a": 1}, "the model")), ({}, ({},), ({}, "the model"))],
)
def test_a_cloudpickle_dict_gets_the_config_only_when_it_is_not_null(
    config: Any, model_call: tuple[Any, ...], predict_call: tuple[Any, ...]
) -> None:
    load_model_fn, load_predict_fn = Recorder("the model"), Recorder(predict)
    assert load_object({"load_model_fn": load_model_fn, "load_predict_fn": load_predict_fn}, config) is predict
    assert load_model_fn.calls == [model_call]
    assert load_predict_fn.calls == [predict_call]


def test_a_pickled_model_wins_over_load_model_fn() -> None:
    load_model_fn, load_predict_fn = Recorder("loaded"), Recorder(predict)
    load_object({"model": None, "load_model_fn": load_model_fn, "load_predict_fn": load_predict_fn}, None)
    assert load_model_fn.calls == []
    assert load_predict_fn.calls == [(None,)]


@pytest.mark.parametrize("config", [None, {"a": 1}])
def test_an_object_with_init_gets_the_config_also_when_it_is_null(config: Any) -> None:
    bundle = WithInit()
    assert load_object(bundle, config) is bundle
    assert bundle.config == config


def test_any_other_callable_is_the_predict_function(tmp_path: Path) -> None:
    assert load_pickle(tmp_path, cloudpickle.dumps(lambda x: x + 1))(1) == 2


@pytest.mark.parametrize(
    ("bundle", "code"),
    [
        ({"model": 1}, "PREDICT_FUNCTION_MISSING"),
        ({"model": 1, "load_predict_fn": lambda model: model}, "PREDICT_FUNCTION_MISSING"),
        ({"load_predict_fn": lambda model: predict}, "MODEL_LOAD_FAILED"),
        ({"load_model_fn": lambda: 1 / 0, "load_predict_fn": lambda model: predict}, "MODEL_LOAD_FAILED"),
        ({"model": 1, "load_predict_fn": lambda model: sys.exit(3)}, "MODEL_LOAD_FAILED"),
        ({"model": 1, "load_predict_fn": lambda model: __import__("no_such_module")}, "IMPORT_ERROR"),
        (17, "PREDICT_FUNCTION_MISSING"),
    ],
)
def test_a_bundle_that_does_not_load_says_why(bundle: Any, code: str) -> None:
    with pytest.raises(LoadError) as caught:
        load_object(bundle, None)
    assert caught.value.code == code
    assert caught.value.message


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: b"", lambda data: b"PK\x03\x04 no pickle"])
def test_a_damaged_pickle_is_a_corrupt_artifact(tmp_path: Path, damage: Any) -> None:
    assert code_of(tmp_path, damage(cloudpickle.dumps({"load_predict_fn": predict}))) == "ARTIFACT_CORRUPT"


def test_a_missing_artifact_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no artifact at") as caught:
        load_bundle(Settings("cloudpickle", tmp_path / "nothing"))
    assert caught.value.code == "ARTIFACT_MISSING"


def test_a_function_pickled_by_the_name_of_a_missing_module_is_an_import_error(tmp_path: Path) -> None:
    assert code_of(tmp_path, b"cno_such_module\nfunction\n.") == "IMPORT_ERROR"
    assert code_of(tmp_path, b"cjson\nno_such_function\n.") == "IMPORT_ERROR"


def test_the_version_recorded_in_the_pickle_is_compared_before_anything_is_loaded(tmp_path: Path) -> None:
    bundle = {"python_version": "3.4", "load_predict_fn": Recorder(predict)}
    assert code_of(tmp_path, cloudpickle.dumps(bundle)) == "PYTHON_MISMATCH"
    same = {**bundle, "python_version": f"{sys.version_info.major}.{sys.version_info.minor}", "model": 1}
    assert load_pickle(tmp_path, cloudpickle.dumps(same))() == 0


def test_code_objects_of_another_python_are_recognised(tmp_path: Path) -> None:
    class ForeignCode:
        def __reduce__(self) -> Any:
            too_few_for_any_version = (0, 0, 0, 0, 0, 0, b"", (), (), ())
            return types.CodeType, too_few_for_any_version

    assert code_of(tmp_path, cloudpickle.dumps(ForeignCode())) == "PYTHON_MISMATCH"


def test_an_exception_while_unpickling_is_not_taken_for_corruption(tmp_path: Path) -> None:
    class Raises:
        def __reduce__(self) -> Any:
            return int, ("not a number",)

    assert code_of(tmp_path, pickle.dumps(Raises())) == "MODEL_LOAD_FAILED"


@pytest.fixture
def zip_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Writes a zip bundle with one module and loads it; what the loader changes in the process is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def load(source: str, predict_name: str = "model_code.main.load_predict", **more: Any) -> Any:
        path = tmp_path / "bundle.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model_code/main.py", source)
            archive.writestr("weights.txt", "42")
        return load_bundle(Settings("zip", path, predict_name, "model_code.main.load_model", **more))

    yield load
    for name in ("model_code", "model_code.main"):
        sys.modules.pop(name, None)


ZIP_SOURCE = """
def load_model(config):
    return config, open("weights.txt").read()

def load_predict(config, model):
    return lambda: [config, *model]
"""


@pytest.mark.parametrize("config", [None, {"a": 1}])
def test_a_zip_bundle_always_gets_the_config_and_finds_its_files(zip_bundle: Any, config: Any) -> None:
    assert zip_bundle(ZIP_SOURCE, user_config=config)() == [config, config, "42"]
    assert Path(os.getcwd(), "weights.txt").exists()


@pytest.mark.parametrize(
    ("source", "predict_name", "code"),
    [
        (ZIP_SOURCE, "model_code.main.nothing", "PREDICT_FUNCTION_MISSING"),
        (ZIP_SOURCE, "nothing", "PREDICT_FUNCTION_MISSING"),
        (ZIP_SOURCE, "nothing.load_predict", "IMPORT_ERROR"),
        ("import no_such_module", "model_code.main.load_predict", "IMPORT_ERROR"),
        ("1 / 0", "model_code.main.load_predict", "MODEL_LOAD_FAILED"),
        ("def load_predict(config, model): pass", "model_code.main.load_predict", "MODEL_LOAD_FAILED"),
    ],
)
def test_a_zip_bundle_that_does_not_load_says_why(zip_bundle: Any, source: str, predict_name: str, code: str) -> None:
    with pytest.raises(LoadError) as caught:
        zip_bundle(source, predict_name)
    assert caught.value.code == code


def test_a_damaged_zip_is_a_corrupt_artifact(tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(b"PK but no zip")
    with pytest.raises(LoadError) as caught:
        load_bundle(Settings("zip", path, "a.b", "a.c"))
    assert caught.value.code == "ARTIFACT_CORRUPT"


def test_the_termination_message_fits_what_kubernetes_reads(tmp_path: Path) -> None:
    path = tmp_path / "termination"
    write_termination_file(path, LoadError("MODEL_LOAD_FAILED", "long " * 5000))
    assert path.stat().st_size <= 4096
