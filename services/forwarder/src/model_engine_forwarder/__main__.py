"""Entry point of `python -m model_engine_forwarder`."""

from model_engine_forwarder.cli import main

main()
