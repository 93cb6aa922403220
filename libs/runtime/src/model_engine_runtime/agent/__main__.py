"""`python -m model_engine_runtime.agent`."""

from model_engine_chassis.lifecycle import run
from model_engine_runtime.agent.app import build
from model_engine_runtime.agent.settings import AgentSettings

if __name__ == "__main__":
    run("agent", AgentSettings, build)
