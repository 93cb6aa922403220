"""Requests that are refused, and what the refusal names."""

from dataclasses import replace

import pytest

from model_engine_runtime.agent.checks import check_environment, check_want
from model_engine_runtime.errors import InvalidRequest
from model_engine_runtime.protocol import Environment, WorkerSet
from model_engine_runtime.wire import decode

WANT = WorkerSet("i", "end_a", 1, "rev", "key", ("run",), {"A": "1"}, 1.0, 1 << 20, {})


def test_good_ones_pass():
    check_want(WANT)
    check_environment(Environment(python="3.11", artifact_sha256="0" * 64, artifact_url="http://x"))


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint_id": "../up"},
        {"installation": ""},
        {"revision": ""},
        {"command": ()},
        {"memory_bytes": 0},
        {"model_port": 70000},
        {"ready_path": "readyz"},
        {"start_deadline_s": 0},
        {"drain_s": -1},
        {"initial_replicas": -1},
        {"env": {"A=B": "x"}},
        {"env": {"A": "nul\0"}},
        {"secrets": {"../x": b""}},
        {"secrets": {"": b""}},
    ],
)
def test_a_wrong_field_is_named(change):
    with pytest.raises(InvalidRequest, match=next(iter(change))):
        check_want(replace(WANT, **change))


@pytest.mark.parametrize(
    "change", [{"artifact_sha256": "xyz"}, {"artifact_url": "http://x"}, {"deadline_s": 0}, {"python": "/bin/sh"}]
)
def test_a_wrong_environment_is_named(change):
    with pytest.raises(InvalidRequest):
        check_environment(Environment(**change))


def test_a_body_of_the_wrong_shape_names_the_field():
    with pytest.raises(InvalidRequest, match=r"WorkerSet.*memory_bytes"):
        decode(WorkerSet, b'{"installation": "i", "memory_bytes": "much"}')
