"""Start the builder: `python -m model_engine_builder`."""

from model_engine_builder.app import build
from model_engine_builder.settings import BuilderSettings
from model_engine_chassis.lifecycle import run

if __name__ == "__main__":
    run("builder", BuilderSettings, build)
