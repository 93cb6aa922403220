"""What the agent remembers, and what it makes of calls."""

from dataclasses import replace

import pytest

from model_engine_runtime.agent.records import AgentRecord, SetRecord, WorkerRecord, applied, deleted, progressed
from model_engine_runtime.errors import ForeignInstallation, StaleGeneration, StaleLeader
from model_engine_runtime.protocol import Worker, WorkerSet, WorkerState
from model_engine_runtime.wire import decode, encode


def want(revision="a", generation=1, key="env"):
    return WorkerSet(
        installation="i",
        endpoint_id="end_a",
        generation=generation,
        revision=revision,
        environment_key=key,
        command=("run",),
        env={},
        cpus=1,
        memory_bytes=1,
        forwarder_config={"sync": {"n": 1}},
        secrets={"binary": bytes(range(256))},
        initial_replicas=3,
    )


def test_the_first_apply_sets_the_number_of_workers_and_later_ones_do_not():
    record = applied(None, want(), now=5.0)
    assert (record.replicas, record.created_at) == (3, 5.0)
    assert applied(replace(record, replicas=7), want("b", 2), now=9.0).replicas == 7


def test_the_last_revision_that_was_ready_is_remembered_over_several_bad_ones():
    record = replace(applied(None, want("good"), 0), was_ready=True)
    record = applied(record, want("bad", 2), 0)
    record = applied(record, want("worse", 3), 0)
    assert (record.want.revision, record.previous.revision, record.was_ready) == ("worse", "good", False)
    back = applied(record, want("good", 4), 0)
    assert (back.want.revision, back.previous, back.was_ready) == ("good", None, True)


def test_a_revision_that_never_was_ready_is_no_previous_one():
    record = applied(applied(None, want("never"), 0), want("b", 2), 0)
    assert record.previous is None


def test_progress_is_noted_once_and_the_previous_revision_forgotten_when_it_has_left():
    record = applied(replace(applied(None, want("a"), 0), was_ready=True), want("b", 2), 0)
    old, new = Worker("1", "a", WorkerState.READY), Worker("2", "b", WorkerState.STARTING)
    assert progressed(record, [old, new]) is record
    assert progressed(record, [new]) is record  # not replaced yet: it may have to come back
    ready = progressed(record, [old, replace(new, state=WorkerState.READY)])
    assert (ready.was_ready, ready.previous.revision) == (True, "a")
    alone = progressed(ready, [replace(new, state=WorkerState.UNREADY)])
    assert (alone.was_ready, alone.previous) == (True, None)
    assert progressed(alone, [new]) is alone


def test_the_same_again_changes_nothing():
    record = applied(None, want(), 0)
    assert applied(record, want(), 9) is record


def test_environments_of_all_revisions_and_workers_are_needed():
    record = replace(applied(None, want("a", key="k1"), 0), was_ready=True)
    record = applied(record, want("b", 2, key="k2"), 0).with_worker(WorkerRecord("w", "old", "k3", 1))
    assert record.environment_keys == {"k1", "k2", "k3"}
    assert record.template("a").environment_key == "k1"
    assert record.template("old") is None


def test_workers_are_added_renewed_and_removed_in_place():
    record = applied(None, want(), 0).with_worker(WorkerRecord("x", "a", "k")).with_worker(WorkerRecord("y", "a", "k"))
    record = record.with_worker(WorkerRecord("x", "a", "k", run=2))
    assert [(worker.id, worker.run) for worker in record.workers] == [("x", 2), ("y", 0)]
    assert [worker.id for worker in record.without_worker("x").workers] == ["y"]


def test_generations_fence():
    record = applied(None, want(generation=5), 0)
    for stale in (lambda: applied(record, want("b", 4), 0), lambda: deleted(record, 4)):
        with pytest.raises(StaleGeneration):
            stale()
    with pytest.raises(StaleGeneration):
        applied(deleted(record, 5), want(generation=6), 0)


def test_installations_and_epochs_fence():
    record = AgentRecord().claimed_by("one", empty=True).led_by(3)
    assert record.claimed_by("one", empty=False) is record
    with pytest.raises(ForeignInstallation):
        record.claimed_by("two", empty=False)
    with pytest.raises(StaleLeader):
        record.led_by(2)
    # Another database counts its epochs anew.
    assert record.claimed_by("two", empty=True).led_by(1).epoch == 1


def test_deletions_are_remembered_up_to_a_bound():
    record = AgentRecord()
    for number in range(1001):
        record = record.with_gone(f"end_{number}", 1)
    assert len(record.gone) == 1000
    assert "end_0" not in record.gone


def test_records_survive_the_disk():
    record = replace(applied(None, want(), 1.5), previous=want("p"), workers=(WorkerRecord("w", "a", "k", 2),))
    assert decode(SetRecord, encode(record)) == record
