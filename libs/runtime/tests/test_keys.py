"""What makes environments and revisions equal."""

from dataclasses import fields, replace

import pytest

from model_engine_runtime.keys import NOT_IN_TEMPLATE, environment_key, template_revision
from model_engine_runtime.protocol import Environment, WorkerSet

ENVIRONMENT = Environment(python="3.11", requirements=("a", "b"), artifact_sha256="0" * 64)
WANT = WorkerSet("i", "end_a", 1, "", "key", ("run", "it"), {"A": "1"}, 1.0, 1 << 20, {"sync": {"x": 1}})


def key(**changes):
    return environment_key(replace(ENVIRONMENT, **changes), "linux-x86_64", "1")


def test_the_address_and_the_deadline_of_an_artifact_do_not_matter():
    assert key() == key(artifact_url="http://elsewhere", deadline_s=1.0)


@pytest.mark.parametrize(
    "change",
    [{"python": "3.12"}, {"requirements": ("b", "a")}, {"artifact_sha256": "1" * 64}, {"image": "x"}],
)
def test_everything_else_does(change):
    assert key() != key(**change)


def test_platform_and_model_server_matter():
    keys = {environment_key(ENVIRONMENT, *identity) for identity in (("l", "1"), ("m", "1"), ("l", "2"))}
    assert len(keys) == 3


def test_a_revision_changes_with_what_runs():
    changes = {"command": ("run",), "env": {"A": "2"}, "cpus": 2.0, "memory_bytes": 5, "drain_s": 1.0}
    revisions = {template_revision(replace(WANT, **{name: value})) for name, value in changes.items()}
    assert len(revisions | {template_revision(WANT), template_revision(WANT, nonce=1)}) == len(changes) + 2


def test_a_revision_does_not_change_with_what_does_not_run():
    values = {"generation": 9, "secrets": {"x": b"y"}, "initial_replicas": 4, "start_deadline_s": 3.0}
    changed = replace(WANT, **values, installation="j", endpoint_id="end_b", revision="x")
    assert template_revision(changed) == template_revision(WANT)
    assert {*values, "installation", "endpoint_id", "revision"} == NOT_IN_TEMPLATE


def test_the_order_of_maps_does_not_matter():
    one, other = replace(WANT, env={"A": "1", "B": "2"}), replace(WANT, env={"B": "2", "A": "1"})
    assert template_revision(one) == template_revision(other)
    assert {field.name for field in fields(WANT)} > NOT_IN_TEMPLATE
