"""What a builder sees of the runtime, and which endpoints a resync passes by."""

from dataclasses import replace
from datetime import timedelta

import pytest

from model_engine_builder.domain.rollout import RolloutPhase
from model_engine_builder.domain.settled import EndpointSummary, RolloutSummary, is_settled
from model_engine_builder.domain.view import EndpointView, RuntimeView
from model_engine_runtime.protocol import Gone, Preparation, PrepState, Snapshot, WorkerState

from .situations import NEW, NOW, OLD, workers

READY = workers(WorkerState.READY)
BUILDING = Preparation("key", PrepState.BUILDING, changed_at=5.0)
BUILT = Preparation("key", PrepState.READY, changed_at=6.0)


def view_of(*items: object) -> RuntimeView:
    view = RuntimeView("ours", "not seen yet", NOW)
    for item in items:
        view.record(item, NOW)  # type: ignore[arg-type]
    return view


def test_a_picture_replaces_what_was_seen() -> None:
    view = view_of(Snapshot("ours", (READY,), (BUILT,)), Snapshot("ours"))
    assert view.of("end_1", "key", None) == EndpointView()


def test_what_is_gone_is_remembered() -> None:
    view = view_of(Snapshot("ours", (READY,), (BUILT,)), Gone("end_1"), Gone("key"))
    assert view.of("end_1", "key", None) == EndpointView(gone_at=NOW)


def test_a_trouble_keeps_what_was_seen_and_since_when_it_lasts() -> None:
    view = view_of(Snapshot("ours", (READY,)))
    view.report_trouble("silence", NOW)
    view.report_trouble("still silence", NOW + timedelta(seconds=5))
    seen = view.of("end_1", None, None)
    assert (seen.trouble, seen.trouble_since, seen.workers) == ("still silence", NOW, READY)
    view.record(Snapshot("ours"), NOW)
    assert view.trouble is None


@pytest.mark.parametrize(
    ("snapshot", "is_trouble"),
    [
        (Snapshot("theirs", (READY,)), True),
        (Snapshot("theirs"), False),
        (Snapshot(None, (READY,)), False),
        (Snapshot("ours", (READY,)), False),
    ],
)
def test_workers_of_another_installation_are_a_trouble(snapshot: Snapshot, is_trouble: bool) -> None:
    assert (view_of(snapshot).trouble is not None) == is_trouble


def test_a_refusal_is_a_trouble_until_the_next_picture() -> None:
    view = view_of(Snapshot(None, (READY,)))
    view.record_refusal("theirs", NOW)
    view.record(READY, NOW)
    assert view.trouble is not None
    view.record(Snapshot("ours", (READY,)), NOW)
    assert view.trouble is None


@pytest.mark.parametrize("answers", [(BUILDING, BUILT), (BUILT, BUILDING)])
def test_an_answer_never_hides_what_the_watch_has_said_since(answers: tuple[Preparation, Preparation]) -> None:
    view = view_of(Snapshot("ours"))
    for answer in answers:
        view.record_answer(answer)
    assert view.preparations["key"] is BUILT


ENDPOINT = EndpointSummary("end_1", 2, serving_generation=2, deletion_requested=False, has_queue=False)
ROLLOUT = RolloutSummary(2, RolloutPhase.SUCCEEDED, NEW)
SEEN = EndpointView(workers=READY)


@pytest.mark.parametrize(
    ("endpoint", "rollout", "seen", "settled"),
    [
        pytest.param(ENDPOINT, ROLLOUT, SEEN, True, id="settled"),
        pytest.param(ENDPOINT, ROLLOUT, replace(SEEN, queue=True), True, id="with its queue"),
        pytest.param(ENDPOINT, ROLLOUT, EndpointView(trouble="away"), True, id="nothing can be done now"),
        pytest.param(ENDPOINT, None, SEEN, False, id="never begun"),
        pytest.param(replace(ENDPOINT, generation=3), ROLLOUT, SEEN, False, id="a newer generation"),
        pytest.param(replace(ENDPOINT, serving_generation=1), ROLLOUT, SEEN, False, id="not known to serve"),
        pytest.param(replace(ENDPOINT, deletion_requested=True), ROLLOUT, SEEN, False, id="to be deleted"),
        pytest.param(ENDPOINT, replace(ROLLOUT, phase=RolloutPhase.FAILED), SEEN, False, id="failed"),
        pytest.param(ENDPOINT, ROLLOUT, EndpointView(), False, id="no workers"),
        pytest.param(ENDPOINT, ROLLOUT, EndpointView(workers=replace(READY, generation=1)), False, id="older workers"),
        pytest.param(ENDPOINT, ROLLOUT, EndpointView(workers=replace(READY, revision=OLD)), False, id="other workers"),
        pytest.param(ENDPOINT, ROLLOUT, replace(SEEN, queue=False), False, id="without its queue"),
    ],
)
def test_what_a_resync_passes_by(
    endpoint: EndpointSummary, rollout: RolloutSummary | None, seen: EndpointView, settled: bool
) -> None:
    assert is_settled(endpoint, rollout, seen) is settled
