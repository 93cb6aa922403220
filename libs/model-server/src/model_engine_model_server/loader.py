"""From an artifact on disk to the predict function, for both kinds of artifact bundles.

Whether the config is passed to a load function depends on the kind, and existing bundles rely on each rule:
a zip bundle always gets it, also when it is null; a cloudpickle bundle gets it only when it is not null.
"""

import atexit
import errno
import importlib
import os
import pickle
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle

from model_engine_model_server import failures
from model_engine_model_server.failures import LoadError
from model_engine_model_server.python_version import (
    is_whole_pickle,
    looks_like_mismatch,
    recorded_version,
    running_version,
)
from model_engine_model_server.settings import Settings

Predict = Callable[..., Any]


def load_bundle(settings: Settings) -> Predict:
    """The bundle's predict function, its model loaded; raises LoadError."""
    if not settings.artifact_path.is_file():
        raise LoadError(failures.ARTIFACT_MISSING, f"There is no artifact at {settings.artifact_path}.")
    if settings.bundle_kind == "zip":
        # Settings are refused without both names, so they are texts here.
        names = (str(settings.load_predict_fn), str(settings.load_model_fn))
        return _load_zip(settings.artifact_path, names, settings.user_config)
    return load_object(_unpickle(settings.artifact_path), settings.user_config)


def load_object(bundle: Any, config: Any) -> Predict:
    """The predict function of an unpickled bundle: a dict of functions, an object with `init`, or a callable."""
    arguments = () if config is None else (config,)
    if isinstance(bundle, dict):
        if "load_predict_fn" not in bundle:
            raise LoadError(failures.PREDICT_FUNCTION_MISSING, "The pickled dict has no load_predict_fn.")
        if "model" in bundle:
            model = bundle["model"]
        elif "load_model_fn" in bundle:
            model = _call_user("load_model_fn", bundle["load_model_fn"], *arguments)
        else:
            raise LoadError(failures.MODEL_LOAD_FAILED, "The pickled dict has neither a model nor a load_model_fn.")
        predict = _call_user("load_predict_fn", bundle["load_predict_fn"], *arguments, model)
        return _callable_or_failure(predict, "load_predict_fn returned")
    if hasattr(bundle, "init"):
        _call_user("init", bundle.init, config)
    return _callable_or_failure(bundle, "The artifact holds")


def _unpickle(path: Path) -> Any:
    made_by = recorded_version(path)
    if made_by is not None and made_by != running_version():
        raise LoadError(
            failures.PYTHON_MISMATCH,
            f"The bundle was pickled by Python {made_by}, but its environment runs Python {running_version()}.",
        )
    try:
        with path.open("rb") as file:
            return cloudpickle.load(file)
    except ImportError as error:
        raise _import_failure("Unpickling the bundle", error) from error
    except (Exception, SystemExit) as error:
        raise _unpickle_failure(path, error) from error


def _unpickle_failure(path: Path, error: BaseException) -> LoadError:
    if not is_whole_pickle(path):
        return LoadError(failures.ARTIFACT_CORRUPT, f"The artifact is not a readable pickle: {_describe(error)}")
    if looks_like_mismatch(error):
        return LoadError(
            failures.PYTHON_MISMATCH,
            f"The bundle was pickled by another Python than {running_version()}: {_describe(error)}",
        )
    if isinstance(error, pickle.UnpicklingError):
        return LoadError(failures.ARTIFACT_CORRUPT, f"The artifact does not unpickle: {_describe(error)}")
    if isinstance(error, AttributeError):
        # A function or class that was pickled by its name, and whose module is another one here.
        return LoadError(failures.IMPORT_ERROR, f"Unpickling the bundle failed: {_describe(error)}")
    return LoadError(failures.MODEL_LOAD_FAILED, f"Unpickling the bundle raised {_describe(error)}")


def _load_zip(path: Path, names: tuple[str, str], config: Any) -> Predict:
    folder = _unpack(path)
    sys.path.insert(0, folder)
    # Bundles open the files that they bring along by relative paths.
    os.chdir(folder)
    load_predict_fn = _import_function(names[0], failures.PREDICT_FUNCTION_MISSING)
    load_model_fn = _import_function(names[1], failures.MODEL_LOAD_FAILED)
    model = _call_user(names[1], load_model_fn, config)
    predict = _call_user(names[0], load_predict_fn, config, model)
    return _callable_or_failure(predict, f"{names[0]} returned")


def _unpack(path: Path) -> str:
    folder = tempfile.mkdtemp(prefix="bundle-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
    except OSError as error:
        code = failures.DISK_FULL if error.errno == errno.ENOSPC else failures.MODEL_LOAD_FAILED
        raise LoadError(code, f"Unpacking the bundle failed: {error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise LoadError(failures.ARTIFACT_CORRUPT, f"The artifact is not a readable zip file: {error}") from error
    return folder


def _import_function(dotted_name: str, code_if_missing: str) -> Callable[..., Any]:
    module_name, _, function_name = dotted_name.rpartition(".")
    if not module_name:
        raise LoadError(code_if_missing, f"{dotted_name!r} is not a dotted name such as package.module.function.")
    module = _call_user(f"importing {module_name}", importlib.import_module, module_name)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise LoadError(code_if_missing, f"Module {module_name} has no function {function_name}.")
    return function  # type: ignore[no-any-return] # getattr gives Any; callable() proved it


def _call_user(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call code of the bundle and name what failed; a bundle that calls sys.exit() fails like any other."""
    try:
        return function(*arguments)
    except ImportError as error:
        raise _import_failure(what, error) from error
    except (Exception, SystemExit) as error:
        if looks_like_mismatch(error):
            raise LoadError(failures.PYTHON_MISMATCH, f"{what} raised {_describe(error)}") from error
        raise LoadError(failures.MODEL_LOAD_FAILED, f"{what} raised {_describe(error)}") from error


def _callable_or_failure(predict: Any, origin: str) -> Predict:
    if not callable(predict):
        raise LoadError(
            failures.PREDICT_FUNCTION_MISSING, f"{origin} an object of type {type(predict).__name__}, not a function."
        )
    return predict  # type: ignore[no-any-return] # Any; callable() proved it


def _import_failure(what: str, error: ImportError) -> LoadError:
    return LoadError(failures.IMPORT_ERROR, f"{what} failed: {_describe(error)}")


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
