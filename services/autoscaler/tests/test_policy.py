"""The scaling policy, step by step and over whole traces."""

from collections.abc import Callable

from model_engine_autoscaler.domain.policy import Decision, Load, Memory, Target, Why, Windows, decide
from model_engine_contracts.endpoint_states import EndpointType

WINDOWS = Windows()
SYNC = Target(EndpointType.SYNC, min_workers=0, max_workers=10, per_worker=2)
ASYNC = Target(EndpointType.ASYNC, min_workers=0, max_workers=10, per_worker=5)


def run(target: Target, load_at: Callable[[float], Load], seconds: int, current: int = 0) -> list[Decision]:
    """Tick once a second; every decision is carried out at once."""
    memory, decisions = Memory(), []
    for tick in range(seconds):
        decision = decide(target, load_at(float(tick)), current, memory, WINDOWS, float(tick))
        memory, current = decision.memory, decision.workers
        decisions.append(decision)
    return decisions


def busy(concurrency: float) -> Load:
    return Load(stable_concurrency=concurrency, panic_concurrency=concurrency)


def test_a_waiting_request_brings_the_first_worker() -> None:
    decision = decide(SYNC, Load(waiting=1), 0, Memory(), WINDOWS, 0.0)
    assert (decision.workers, decision.why) == (1, Why.FROM_ZERO)


def test_many_waiting_requests_bring_as_many_workers_as_they_need() -> None:
    assert decide(SYNC, Load(waiting=7), 0, Memory(), WINDOWS, 0.0).workers == 4


def test_a_queued_task_brings_the_first_worker() -> None:
    decision = decide(ASYNC, Load(backlog=1, oldest_age=0.0), 0, Memory(), WINDOWS, 0.0)
    assert (decision.workers, decision.why) == (1, Why.FROM_ZERO)


def test_concurrency_sets_the_number_of_workers() -> None:
    assert decide(SYNC, busy(7.0), 3, Memory(), WINDOWS, 0.0).workers == 4


def test_a_burst_is_answered_by_the_panic_window_and_never_scales_down_in_it() -> None:
    def load(at: float) -> Load:
        return Load(stable_concurrency=2.0, panic_concurrency=14.0 if at < 3 else 2.0)

    decisions = run(SYNC, load, 50, current=2)
    assert (decisions[0].workers, decisions[0].why) == (7, Why.PANIC)
    assert min(decision.workers for decision in decisions) == 7


def test_scale_down_waits_for_the_whole_window() -> None:
    decisions = run(SYNC, lambda at: busy(8.0 if at < 10 else 2.0), 100, current=4)
    workers = [decision.workers for decision in decisions]
    assert workers[:69] == [4] * 69, "the last demand for four was at second 9"
    assert workers[75] == 1


def test_zero_needs_the_window_and_the_grace() -> None:
    decisions = run(SYNC, lambda at: busy(1.0 if at < 1 else 0.0), 120, current=1)
    first_zero = next(tick for tick, decision in enumerate(decisions) if decision.workers == 0)
    assert first_zero == WINDOWS.stable + WINDOWS.zero_grace
    assert decisions[first_zero].why is Why.TO_ZERO


def test_min_workers_is_kept_and_said() -> None:
    decision = decide(Target(EndpointType.SYNC, 2, 10, 1), Load(), 0, Memory(), WINDOWS, 0.0)
    assert (decision.workers, decision.why) == (2, Why.BELOW_MINIMUM)


def test_max_workers_is_a_ceiling() -> None:
    assert decide(SYNC, busy(100.0), 10, Memory(), WINDOWS, 0.0).workers == 10
    lowered = decide(Target(EndpointType.SYNC, 0, 3, 2), busy(100.0), 10, Memory(), WINDOWS, 0.0)
    assert (lowered.workers, lowered.why) == (3, Why.ABOVE_MAXIMUM)


def test_max_workers_zero_switches_the_endpoint_off() -> None:
    decision = decide(Target(EndpointType.SYNC, 0, 0, 1), busy(5.0), 3, Memory(), WINDOWS, 0.0)
    assert (decision.workers, decision.why) == (0, Why.DISABLED)


def test_a_rollout_keeps_one_worker_and_lets_it_go_afterwards() -> None:
    rolling = Target(EndpointType.SYNC, 0, 10, 2, rolling_out=True)
    assert {decision.workers for decision in run(rolling, lambda _: Load(), 300, current=1)} == {1}
    assert decide(rolling, Load(), 0, Memory(), WINDOWS, 0.0).workers == 1
    assert run(SYNC, lambda _: Load(), 300, current=1)[-1].workers == 0


def test_an_unreadable_backlog_holds_the_number_of_workers() -> None:
    decisions = run(ASYNC, lambda _: Load(backlog=None), 500, current=4)
    assert {decision.workers for decision in decisions} == {4}
    assert decisions[-1].why is Why.NO_DATA


def test_old_tasks_bring_one_worker_per_age_period() -> None:
    decisions = run(ASYNC, lambda _: Load(backlog=10, oldest_age=100.0), 61, current=2)
    workers = [decision.workers for decision in decisions]
    assert (workers[0], workers[29], workers[30], workers[60]) == (3, 3, 4, 5)
    assert decisions[0].why is Why.OLDEST_AGE


def test_a_new_leader_does_not_scale_down_before_it_has_seen_a_whole_window() -> None:
    workers = [decision.workers for decision in run(SYNC, lambda _: busy(2.0), 61, current=8)]
    assert workers[59] == 8
    assert workers[60] == 1


def test_a_sawtooth_demand_does_not_flap() -> None:
    decisions = run(SYNC, lambda at: busy(8.0 if at % 20 < 10 else 2.0), 300, current=4)
    assert {decision.workers for decision in decisions} == {4}


def test_the_explanation_carries_its_figures() -> None:
    inputs = decide(SYNC, busy(7.0), 3, Memory(), WINDOWS, 0.0).inputs
    assert inputs == {
        "stable_concurrency": 7.0,
        "panic_concurrency": 7.0,
        "waiting": 0,
        "per_worker": 2,
        "current": 3,
        "min_workers": 0,
        "max_workers": 10,
    }
