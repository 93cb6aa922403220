"""How an endpoint's document comes to be and changes by its owner's requests, with the events that say so."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from model_engine_contracts.documents import EndpointDocument, EndpointSpec, EndpointStatus, Revision
from model_engine_contracts.endpoint_states import Phase
from model_engine_contracts.envelope import EventData
from model_engine_contracts.events import EndpointDeletionRequested, EndpointRequested, EndpointUpdated
from model_engine_gateway.domain.endpoint_changes import bounded_revisions, changed_fields
from model_engine_gateway.domain.status import entered


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of an endpoint's document: the fields to set and the history events."""

    fields: dict[str, Any]
    events: tuple[EventData, ...]


def new_endpoint(
    spec: EndpointSpec, *, endpoint_id: str, name: str, owner: str, user: str, now: datetime
) -> tuple[EndpointDocument, EventData]:
    """The document of generation 1 and its event."""
    revision = Revision(generation=1, spec=spec, created_at=now, created_by=user)
    document = EndpointDocument(
        id=endpoint_id,
        name=name,
        owner=owner,
        created_by=user,
        created_at=now,
        last_updated_at=now,
        version=1,
        generation=1,
        spec=spec,
        status=EndpointStatus(since=now),
        revisions=(revision,),
    )
    event = EndpointRequested(
        endpoint_id=endpoint_id,
        name=name,
        generation=1,
        endpoint_type=spec.endpoint_type,
        bundle_id=spec.bundle.id,
        requested_by=user,
    )
    return document, event


def next_generation(document: EndpointDocument, spec: EndpointSpec, *, user: str, now: datetime) -> Edit:
    """The edit that makes `spec` the desired state; it supersedes whatever is under way.

    An old failure stays visible until the endpoint is ready again.
    """
    generation = document.generation + 1
    newer = document.model_copy(update={"generation": generation})
    change = entered(newer, document.status, Phase.PENDING, document.status.failure, now)
    updated = EndpointUpdated(
        endpoint_id=document.id,
        name=document.name,
        generation=generation,
        changed=changed_fields(document.spec, spec),
        requested_by=user,
    )
    revision = Revision(generation=generation, spec=spec, created_at=now, created_by=user)
    revisions = bounded_revisions(document.revisions, revision, document.status.serving_generation)
    fields = {
        "generation": generation,
        "spec": spec.model_dump(),
        "status": change.status.model_dump(),
        "revisions": [kept.model_dump() for kept in revisions],
        "last_updated_at": now,
    }
    return Edit(fields, (updated, *change.events))


def deletion(document: EndpointDocument, *, user: str, now: datetime) -> Edit:
    """The edit that makes "gone" the desired state."""
    generation = document.generation + 1
    newer = document.model_copy(update={"generation": generation})
    change = entered(newer, document.status, Phase.DELETING, None, now)
    requested = EndpointDeletionRequested(
        endpoint_id=document.id, name=document.name, generation=generation, requested_by=user
    )
    fields = {
        "generation": generation,
        "deletion_requested": True,
        "status": change.status.model_dump(),
        "last_updated_at": now,
    }
    return Edit(fields, (requested, *change.events))
