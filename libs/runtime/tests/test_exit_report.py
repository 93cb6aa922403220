"""Why a run ended."""

import json

import pytest

from model_engine_contracts.failures import Reason
from model_engine_runtime.agent.process.exit_report import failure_of


def leave(folder, name, value):
    (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))


def test_the_termination_file_gives_the_reason(tmp_path):
    leave(tmp_path, "exit.json", {"part": "model", "code": 1, "error": None})
    leave(tmp_path, "termination.json", {"code": "IMPORT_ERROR", "message": "No module named x", "traceback": "…"})
    leave(tmp_path, "model.000000000000000.log", "one\nlast\n")
    failure = failure_of(tmp_path)
    assert (failure.reason, failure.exit_code, failure.log_tail) == (Reason.IMPORT_ERROR, 1, "one\nlast")
    assert failure.message.startswith("No module named x")


@pytest.mark.parametrize("said", ['{"code": "EVICTED"}', '{"code": "MADE_UP"}', "{torn", "[]", '{"code": {}}'])
def test_a_termination_file_that_says_what_it_may_not_is_ignored(tmp_path, said):
    leave(tmp_path, "exit.json", {"part": "model", "code": 3, "error": None})
    leave(tmp_path, "termination.json", said)
    failure = failure_of(tmp_path)
    assert (failure.reason, failure.message) == (Reason.EXITED, "The model server exited with code 3.")


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ({"part": "model", "code": 0, "error": None}, "model server exited with code 0"),
        ({"part": "model", "code": 137, "error": None}, "SIGKILL"),
        ({"part": "model", "code": 139, "error": None}, "signal 11"),
        ({"part": "forwarder", "code": 1, "error": None}, "forwarder exited"),
        ({"part": "model", "code": 127, "error": "No such file"}, "cannot be started: No such file"),
    ],
)
def test_the_message_says_what_happened(tmp_path, report, words):
    leave(tmp_path, "exit.json", report)
    failure = failure_of(tmp_path)
    assert failure.reason is Reason.EXITED
    assert words in failure.message


def test_nothing_left_behind_means_killed_from_outside(tmp_path):
    assert "killed from outside" in failure_of(tmp_path).message
