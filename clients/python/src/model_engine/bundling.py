"""Pickles a bundle's functions by value, together with the code around them that workers cannot import.

By value go all loaded modules that lie in the folders of the functions' own files; installed packages go by name, so
they belong into the bundle's requirements.
"""

import importlib.util
import inspect
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from model_engine.errors import RefusedError

# The model server looks for this key to refuse a pickle of another Python before it runs any of it.
_VERSION_KEY = "python_version"

_INSTALLED_FOLDERS = tuple(
    Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")
)

_PICKLING = threading.Lock()
"""cloudpickle keeps the list of modules that go by value for the whole process: one bundle is pickled at a time."""


def python_version() -> str:
    """The running interpreter's version as "3.11"."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model and how to call it; workers run it in an environment that has `requirements` (pip lines) installed.

    A worker calls `load_model_fn()` unless the `model` itself is in the bundle, then `load_predict_fn(model)`, which
    gives the predict function. With an `app_config` the calls are `load_model_fn(app_config)` and
    `load_predict_fn(app_config, model)`.
    """

    load_predict_fn: Callable[..., Any]
    load_model_fn: Callable[..., Any] | None = None
    model: Any = None
    requirements: tuple[str, ...] = ()
    app_config: dict[str, Any] | None = None


def write_bundle(path: Path, bundle: Bundle) -> None:
    """Pickle the bundle to `path`; raises RefusedError when something in it cannot be pickled."""
    pickled: dict[str, Any] = {_VERSION_KEY: python_version(), "load_predict_fn": bundle.load_predict_fn}
    functions = [bundle.load_predict_fn]
    if bundle.load_model_fn is None:
        pickled["model"] = bundle.model
    else:
        pickled["load_model_fn"] = bundle.load_model_fn
        functions.append(bundle.load_model_fn)
    with _PICKLING, _by_value(functions), path.open("wb") as file:
        try:
            cloudpickle.dump(pickled, file)
        except Exception as error:
            raise RefusedError(f"The bundle cannot be pickled: {type(error).__name__}: {error}") from error


def source_of(function: Callable[..., Any] | None) -> str:
    """The source text of a function for readers, else its name; empty for None."""
    if function is None:
        return ""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return str(getattr(function, "__qualname__", repr(function)))


def load_source(path: Path) -> ModuleType:
    """Import a Python file that belongs to no package, as its own folder would see it; raises RefusedError."""
    path = path.resolve()
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise RefusedError(f"{path} is not a Python file.")
    loaded = sys.modules.get(path.stem)
    if loaded is not None and _own_file(loaded) != path:
        raise RefusedError(f"{path} has the name of another module ({path.stem}): rename it.")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RefusedError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


@contextmanager
def _by_value(functions: list[Callable[..., Any]]) -> Iterator[None]:
    """Have cloudpickle take the modules beside the functions by value."""
    folders = {file.parent for function in functions if (file := _own_file(inspect.getmodule(function)))}
    modules = [
        module
        for name, module in list(sys.modules.items())
        if (file := _own_file(module))
        and name == module.__name__
        and any(file.is_relative_to(folder) for folder in folders)
    ]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _own_file(module: ModuleType | None) -> Path | None:
    """The file of a module that is the user's own; None for installed ones and those without a file."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not isinstance(module, ModuleType):
        return None
    path = Path(file).resolve()
    return None if any(path.is_relative_to(folder) for folder in _INSTALLED_FOLDERS) else path
