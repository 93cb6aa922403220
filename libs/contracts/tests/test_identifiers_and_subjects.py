"""Identifiers, owner tokens and subjects."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_engine_contracts.events import EndpointDeleted, EndpointReleased, new_event
from model_engine_contracts.ids import new_id, owner_token
from model_engine_contracts.subjects import facts, history, subject_of


def test_ids_have_their_prefix_and_are_unique() -> None:
    ids = {new_id("end") for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"end_[0-9a-v]{20}", value) for value in ids)


@given(st.text(min_size=1))
def test_every_owner_has_a_token(owner: str) -> None:
    assert re.fullmatch(r"[a-z0-9_-]{1,64}", owner_token(owner))


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_owners_never_share_a_token(one: str, other: str) -> None:
    assert (owner_token(one) == owner_token(other)) == (one == other)


def test_owners_that_look_alike_stay_apart() -> None:
    assert len({owner_token(owner) for owner in ("ada", "Ada", "a d a", "a.d.a", owner_token("Ada"))}) == 5


def test_history_goes_under_its_owner_and_facts_do_not() -> None:
    deleted = EndpointDeleted(endpoint_id="end_1", name="digits", generation=3)
    released = EndpointReleased(endpoint_id="end_1", generation=3)
    assert subject_of(new_event(deleted, source="gateway", owner="ada")) == "me.ada.endpoint.end_1.deleted.v1"
    assert subject_of(new_event(released, source="builder")) == "mesys.endpoint.end_1.released.v1"
    assert facts("endpoint", "released") == "mesys.endpoint.*.released.v1"
    assert history("ada", "endpoint") == "me.ada.endpoint.*.*.v1"


def test_a_history_event_without_an_owner_is_refused() -> None:
    with pytest.raises(ValueError, match="needs an owner"):
        new_event(EndpointDeleted(endpoint_id="end_1", name="digits", generation=3), source="gateway")


def test_an_id_that_would_break_the_subject_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot stand in a subject"):
        subject_of(new_event(EndpointReleased(endpoint_id="end.*.>", generation=1), source="builder"))
