"""Functions of bundles that fail, each in its own way. They run in workers; `marks` is a folder to leave signs in."""

import os
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NoReturn

MEMORY_BYTES = 192 << 20
"""What the endpoint of `out_of_memory` asks for."""

OWN_BYTES = 32 << 20
"""Less than what the model server itself needs of it."""

STARTS_THAT_SUCCEED = 3
LAST_WORDS = "these are the last words"


def import_error(marks: str) -> None:
    import a_module_that_nobody_has  # type: ignore[import-not-found]  # that is the point

    a_module_that_nobody_has.run()


def load_exception(marks: str) -> None:
    raise ValueError("the weights are of another model")


def exit_at_start(marks: str) -> NoReturn:
    print(LAST_WORDS, flush=True)
    os._exit(3)


def never_ready(marks: str) -> None:
    print(LAST_WORDS, flush=True)
    time.sleep(600)


def out_of_memory(marks: str) -> None:
    held = []
    for number in range(16):
        held.append(bytes([number + 1]) * (16 << 20))
        if (len(held) << 24) + OWN_BYTES >= MEMORY_BYTES and not (over := Path(marks, "over")).exists():
            over.touch()
    time.sleep(600)


def no_predict_function(marks: str) -> str:
    return "not a function"


def readiness_answers_500(marks: str) -> None:
    class Unwell(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(500)
            self.end_headers()

    HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Unwell).serve_forever()


def crash_when_called(marks: str) -> Any:
    number = len(os.listdir(marks))
    Path(marks, f"start-{number}").touch()
    if number >= STARTS_THAT_SUCCEED:
        time.sleep(600)

    def predict(x: int) -> NoReturn:
        print(LAST_WORDS, flush=True)
        os._exit(7)

    return predict
