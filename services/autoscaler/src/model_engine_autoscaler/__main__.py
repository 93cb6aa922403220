"""Start the autoscaler: `python -m model_engine_autoscaler`."""

from model_engine_autoscaler.app import build
from model_engine_autoscaler.settings import AutoscalerSettings
from model_engine_chassis.lifecycle import run

if __name__ == "__main__":
    run("autoscaler", AutoscalerSettings, build)
