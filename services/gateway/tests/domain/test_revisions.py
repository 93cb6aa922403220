"""Going back to an older generation, as the pure rules say it."""

from collections.abc import Callable
from typing import Any

import pytest

from model_engine_contracts.api.endpoints import UpdateModelEndpointV1Request
from model_engine_contracts.documents import EndpointDocument, EndpointSpec
from model_engine_gateway.domain.endpoint_changes import MAX_REVISIONS, updated_spec
from model_engine_gateway.domain.endpoint_documents import next_generation
from model_engine_gateway.domain.invalid import Invalid
from model_engine_gateway.domain.revisions import NoSuchRevision, restored_spec, revision_to_restore, revision_views

Step = Callable[[EndpointDocument, EndpointSpec], EndpointDocument]


@pytest.fixture
def step() -> Step:
    def taken(document: EndpointDocument, spec: EndpointSpec) -> EndpointDocument:
        edit = next_generation(document, spec, user="bob", now=document.created_at)
        return EndpointDocument.model_validate({**document.model_dump(by_alias=True), **edit.fields})

    return taken


def _with(document: EndpointDocument, **fields: Any) -> EndpointSpec:
    return updated_spec(document.spec, UpdateModelEndpointV1Request.model_validate(fields), None)


def test_undo_of_an_undo_goes_forward_again(document: EndpointDocument, step: Step) -> None:
    changed = step(document, _with(document, max_workers=7))
    undone = step(changed, restored_spec(changed.spec, revision_to_restore(changed, None)))
    assert (undone.generation, undone.spec.scaling.max_workers) == (3, 2)
    again = revision_to_restore(undone, None)
    assert (again.generation, again.spec.scaling.max_workers) == (2, 7)


def test_a_restart_is_nothing_to_go_back_from(document: EndpointDocument, step: Step) -> None:
    restarted = step(document, document.spec.model_copy(update={"restart_nonce": 1}))
    assert revision_views(restarted)[0].changed == ["restart"]
    with pytest.raises(Invalid, match="keeps no earlier revision"):
        revision_to_restore(restarted, None)
    changed = step(restarted, _with(restarted, cpus="2"))
    assert restored_spec(changed.spec, revision_to_restore(changed, 1)).restart_nonce == 1


def test_what_is_dropped_is_named(document: EndpointDocument, step: Step) -> None:
    for count in range(3, 3 + MAX_REVISIONS):
        document = step(document, _with(document, max_workers=count))
    with pytest.raises(NoSuchRevision, match="no revision of generation 1, only of 2, 3, 4, 5, 6, 7, 8, 9, 10, 11"):
        revision_to_restore(document, 1)
    assert [view.generation for view in revision_views(document)] == list(range(11, 1, -1))


def test_credentials_stay_hidden(document: EndpointDocument, step: Step) -> None:
    auth = {"kind": "mtls", "cert": "c", "key": "k"}
    view = revision_views(step(document, _with(document, default_callback_auth=auth)))[0]
    assert view.settings["default_callback_auth"] == {"kind": "mtls", "cert": "c", "key": "********"}
    assert view.changed == ["default_callback_auth"]
