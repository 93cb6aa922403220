"""SDK and command line of Model Engine.

The names below are loaded when they are first used, so that the command line starts fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_engine.async_client import AsyncClient
    from model_engine.bundling import Bundle
    from model_engine.client import Client
    from model_engine.connection import Connection
    from model_engine.deployment import EndpointSettings
    from model_engine.history import HistoryEvent
    from model_engine.retry import Retry, RetryPolicy

_MODULES = {
    "AsyncClient": "async_client",
    "Bundle": "bundling",
    "Client": "client",
    "Connection": "connection",
    "EndpointSettings": "deployment",
    "HistoryEvent": "history",
    "Retry": "retry",
    "RetryPolicy": "retry",
}

__all__ = [
    "AsyncClient",
    "Bundle",
    "Client",
    "Connection",
    "EndpointSettings",
    "HistoryEvent",
    "Retry",
    "RetryPolicy",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'model_engine' has no attribute {name!r}")
    return getattr(importlib.import_module(f"model_engine.{_MODULES[name]}"), name)
