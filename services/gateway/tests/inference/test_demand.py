"""Demand is a mean over time, not a sample."""

import pytest

from model_engine_gateway.inference.demand import DemandMeter


def test_the_average_counts_what_happened_between_reports() -> None:
    meter = DemandMeter(0.0)
    meter.change("a", 0.25, in_flight=1)
    meter.change("a", 0.75, in_flight=-1)
    meter.change("b", 0.5, waiting=2)
    report = meter.report(1.0)
    assert report["a"].average == pytest.approx(0.5)
    assert (report["a"].in_flight, report["a"].waiting) == (0, 0)
    assert report["b"].average == pytest.approx(1.0)
    assert (report["b"].in_flight, report["b"].waiting) == (0, 2)
    assert meter.totals() == (0, 2)


def test_a_quiet_endpoint_is_forgotten_and_a_busy_one_goes_on() -> None:
    meter = DemandMeter(0.0)
    meter.change("a", 0.0, in_flight=3)
    meter.change("b", 0.0, in_flight=1)
    meter.change("b", 0.5, in_flight=-1)
    assert set(meter.report(1.0)) == {"a", "b"}
    report = meter.report(2.0)
    assert set(report) == {"a"}
    assert report["a"].average == pytest.approx(3.0)
