"""Which workers are started and which let go."""

import pytest

from model_engine_runtime.agent.planning import Plan, plan
from model_engine_runtime.protocol import Worker, WorkerState

STATES = {
    "r": WorkerState.READY,
    "u": WorkerState.UNREADY,
    "s": WorkerState.STARTING,
    "b": WorkerState.BACKOFF,
    "d": WorkerState.DRAINING,
}


def workers(text):
    """`new:r old:s` is a READY worker of the revision `new` and a STARTING one of `old`; ids count from 0."""
    pairs = (word.split(":") for word in text.split())
    return [Worker(str(number), revision, STATES[state]) for number, (revision, state) in enumerate(pairs)]


@pytest.mark.parametrize(
    ("present", "replicas", "start", "drain"),
    [
        ("", 2, 2, ""),
        ("new:r", 1, 0, ""),
        ("new:s new:r", 1, 0, "0"),  # the READY one is kept
        ("new:b new:u new:r", 2, 0, "0"),
        ("new:d", 1, 1, ""),  # one that drains is no worker any more
        ("new:r new:r", 0, 0, "0 1"),
        ("old:r old:r", 2, 2, ""),  # the old ones stay beside the starting new ones
        ("old:r old:r new:r new:s", 2, 0, "1"),  # one for one
        ("old:r old:r new:r new:r", 2, 0, "0 1"),
        ("old:r new:b", 1, 0, ""),  # a new one that fails takes nothing away
        ("old:b old:r new:s new:s", 1, 0, "3 0"),  # scaled down in mid-rollout
        ("old:r", 3, 3, ""),  # no old one is added
        ("older:r old:r new:s", 1, 0, "0"),  # an overtaken revision goes at once
    ],
)
def test_plan(present, replicas, start, drain):
    made = plan(workers(present), revision="new", previous="old", replicas=replicas)
    assert made == Plan(start, tuple(drain.split()))


def test_without_a_previous_revision_everything_else_goes():
    assert plan(workers("a:r b:r"), revision="b", previous=None, replicas=1) == Plan(0, ("0",))
