"""Start the cache: `python -m model_engine_cache`."""

from model_engine_cache.app import build
from model_engine_cache.settings import CacheSettings
from model_engine_chassis.lifecycle import run

if __name__ == "__main__":
    run("cache", CacheSettings, build)
