"""Backoff and crash loops."""

from model_engine_contracts.failures import Reason
from model_engine_runtime.agent.restarts import LONGEST_DELAY_SECONDS, Restarts
from model_engine_runtime.protocol import Failure

FAILURE = Failure(Reason.OUT_OF_MEMORY, "too much", 137, "last line")


def exits(*moments, ready_since=None):
    restarts = Restarts()
    failures = [restarts.exited(FAILURE, moment, ready_since) for moment in moments]
    return restarts, [failure.reason for failure in failures]


def test_the_third_exit_within_a_minute_is_a_crash_loop_that_names_the_cause():
    restarts, reasons = exits(0, 30, 60)
    assert reasons == [Reason.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY, Reason.CRASH_LOOP]
    failure = restarts.exited(FAILURE, 61, None)
    assert failure.message.endswith("the last: OUT_OF_MEMORY: too much")
    assert (failure.exit_code, failure.log_tail) == (137, "last line")


def test_exits_further_apart_are_none():
    assert exits(0, 31, 61)[1] == [Reason.OUT_OF_MEMORY] * 3


def test_half_a_minute_of_ready_forgets_what_was():
    restarts, _ = exits(0, 1)
    assert restarts.exited(FAILURE, 40, ready_since=10).reason is Reason.OUT_OF_MEMORY
    assert restarts.delay() == 0
    restarts, _ = exits(0, 1)
    assert restarts.exited(FAILURE, 40, ready_since=11).reason is Reason.CRASH_LOOP


def test_delays_grow_to_a_bound():
    delays = [exits(*range(count))[0].delay() for count in range(1, 12)]
    assert delays[0] == 0
    assert 0.5 <= delays[1] <= 1.0
    assert 8 <= delays[5] <= 16
    assert LONGEST_DELAY_SECONDS / 2 <= delays[-1] <= LONGEST_DELAY_SECONDS
