"""The command line `model-engine`."""

from model_engine.cli.app import main

__all__ = ["main"]
