"""Past generations of an endpoint: how they are shown, and how one becomes the desired state again."""

from itertools import pairwise

from model_engine_contracts.api.endpoints import ModelEndpointRevision
from model_engine_contracts.documents import EndpointDocument, EndpointSpec, Revision
from model_engine_gateway.domain.endpoint_changes import changed_fields, settings_of
from model_engine_gateway.domain.invalid import Invalid

_RESTARTED = "restart_nonce"


class NoSuchRevision(Exception):
    """The endpoint keeps no revision of that generation. The text names those that it keeps."""


def revision_views(endpoint: EndpointDocument) -> list[ModelEndpointRevision]:
    """All revisions that are kept, newest first. The oldest one says nothing about what it changed."""
    changes: dict[int, list[str]] = {}
    for older, newer in pairwise(endpoint.revisions):
        fields = changed_fields(older.spec, newer.spec)
        changes[newer.generation] = ["restart" if name == _RESTARTED else name for name in fields]
    return [
        ModelEndpointRevision(
            generation=revision.generation,
            created_at=revision.created_at,
            created_by=revision.created_by,
            model_bundle_id=revision.spec.bundle.id,
            bundle_name=revision.spec.bundle.name,
            current=revision.generation == endpoint.generation,
            serving=revision.generation == endpoint.status.serving_generation,
            changed=changes.get(revision.generation, []),
            settings=settings_of(revision.spec),
        )
        for revision in reversed(endpoint.revisions)
    ]


def revision_to_restore(endpoint: EndpointDocument, generation: int | None) -> Revision:
    """The revision of that generation, or the last one that asked for something else than the current one.

    Raises NoSuchRevision, and Invalid where nothing would change.
    """
    if generation is None:
        for revision in reversed(endpoint.revisions):
            if _asks_for_something_else(endpoint, revision):
                return revision
        raise Invalid(f"Model endpoint {endpoint.id} keeps no earlier revision to roll back to.", "nothing_to_restore")
    for revision in endpoint.revisions:
        if revision.generation == generation:
            if _asks_for_something_else(endpoint, revision):
                return revision
            raise Invalid(
                f"Generation {generation} of model endpoint {endpoint.id} is what it asks for already.",
                "nothing_to_restore",
            )
    kept = ", ".join(str(revision.generation) for revision in endpoint.revisions)
    raise NoSuchRevision(f"Model endpoint {endpoint.id} keeps no revision of generation {generation}, only of {kept}.")


def restored_spec(current: EndpointSpec, revision: Revision) -> EndpointSpec:
    """The desired state that a revision asked for; restarts since then are not taken back."""
    return revision.spec.model_copy(update={"restart_nonce": current.restart_nonce})


def _asks_for_something_else(endpoint: EndpointDocument, revision: Revision) -> bool:
    return restored_spec(endpoint.spec, revision) != endpoint.spec
