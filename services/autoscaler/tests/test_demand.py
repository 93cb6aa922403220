"""Demand reports become means per window; stale ones stop counting."""

import pytest

from model_engine_autoscaler.domain.demand import Demand
from model_engine_contracts.demand import DemandReport, EndpointDemand, WakeUp


def report(gateway: str, average: float, waiting: int = 0) -> DemandReport:
    return DemandReport(
        gateway=gateway, endpoints={"end_a": EndpointDemand(in_flight=0, waiting=waiting, average=average)}
    )


def test_the_gateways_add_up_and_the_mean_is_over_the_window() -> None:
    demand = Demand(window=60.0)
    for second in range(10):
        demand.record_report(report("one", 3.0), float(second))
        demand.record_report(report("two", 1.0), float(second))
        demand.sample(float(second))
    assert demand.mean("end_a", 6.0, 9.0) == pytest.approx(4.0)


def test_a_silent_gateway_counts_for_three_seconds_only() -> None:
    demand = Demand(window=60.0)
    demand.record_report(report("one", 6.0), 0.0)
    for second in range(6):
        demand.sample(float(second))
    assert demand.mean("end_a", 6.0, 5.0) == pytest.approx(3.0)


def test_waiting_is_the_larger_of_report_and_wake_up_per_gateway() -> None:
    demand = Demand(window=60.0)
    demand.record_report(report("one", 0.0, waiting=2), 0.0)
    demand.record_wake(WakeUp(gateway="one", endpoint_id="end_a", waiting=3), 0.0)
    demand.record_wake(WakeUp(gateway="two", endpoint_id="end_a", waiting=1), 0.0)
    assert demand.waiting("end_a", 1.0) == 4
    assert demand.waiting("end_a", 10.0) == 0


def test_a_report_without_waiting_requests_ends_the_wake_up() -> None:
    demand = Demand(window=60.0)
    demand.record_wake(WakeUp(gateway="one", endpoint_id="end_a", waiting=3), 0.0)
    demand.record_report(report("one", 1.0), 0.5)
    assert demand.waiting("end_a", 0.6) == 0


def test_an_idle_endpoint_is_forgotten() -> None:
    demand = Demand(window=5.0)
    demand.record_report(report("one", 1.0), 0.0)
    for second in range(20):
        demand.sample(float(second))
    assert demand._endpoints == {}
