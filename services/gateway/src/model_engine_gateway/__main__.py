"""Start the gateway: `python -m model_engine_gateway`."""

from model_engine_chassis.lifecycle import run
from model_engine_gateway.app import build
from model_engine_gateway.settings import GatewaySettings

if __name__ == "__main__":
    run("gateway", GatewaySettings, build)
