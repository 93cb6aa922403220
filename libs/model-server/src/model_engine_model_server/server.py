"""The process: read the settings, load the bundle, serve it until SIGTERM, and let running calls finish.

Exit status: 0 after a drain, 1 when the bundle does not load or calls outlive the drain, 78 for wrong settings.
"""

import functools
import logging
import os
import signal
import sys
from typing import NoReturn

import uvicorn

from model_engine_model_server.app import ModelApp
from model_engine_model_server.download import download
from model_engine_model_server.failures import LoadError, write_termination_file
from model_engine_model_server.loader import Predict, load_bundle
from model_engine_model_server.predictor import Predictor
from model_engine_model_server.settings import TABLE, Settings, SettingsError, read_settings
from model_engine_model_server.slots import Slots

logger = logging.getLogger(__name__)

_EXIT_LOAD_FAILED = 1
_EXIT_WRONG_SETTINGS = 78


def main() -> NoReturn:
    """Entry point of the process; does not return."""
    if "--help" in sys.argv[1:]:
        sys.stdout.write(TABLE)
        sys.exit(0)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = read_settings()
    except SettingsError as error:
        sys.stderr.write(f"Wrong settings:\n{error}\n")
        sys.exit(_EXIT_WRONG_SETTINGS)
    serve(settings, _load_or_exit(settings))


def serve(settings: Settings, predict: Predict) -> NoReturn:
    """Serve the function until SIGTERM or SIGINT, then exit."""
    slots = Slots(settings.concurrency, settings.queue_size)
    fetch = functools.partial(download, max_bytes=settings.url_max_bytes, timeout_seconds=settings.url_timeout_seconds)
    config = uvicorn.Config(
        ModelApp(Predictor(predict, slots, fetch, not settings.refuse_pickled_input)),
        host=settings.host,
        port=settings.port,
        lifespan="off",
        access_log=False,
        log_config=None,
        ws="none",
        timeout_graceful_shutdown=settings.drain_seconds,
    )
    # uvicorn handles both while it serves and raises them again when it has drained; then they have done their work.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    uvicorn.Server(config).run()
    if slots.busy:
        logger.error("%d calls were still running after %d s; they are lost.", slots.busy, settings.drain_seconds)
        # The interpreter would wait for their threads for ever.
        os._exit(1)
    sys.exit(0)


def _load_or_exit(settings: Settings) -> Predict:
    try:
        predict = load_bundle(settings)
    except LoadError as failure:
        logger.exception("%s: %s", failure.code, failure.message)
        if settings.termination_file is not None:
            write_termination_file(settings.termination_file, failure)
        sys.exit(_EXIT_LOAD_FAILED)
    logger.info("The bundle is loaded.")
    return predict
