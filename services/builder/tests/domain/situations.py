"""Situations of an endpoint for the tests of the state machine: documents, what is remembered, what is seen."""

from datetime import UTC, datetime, timedelta
from typing import Any

from model_engine_builder.domain.next_step import next_step
from model_engine_builder.domain.rollout import Rollout, RolloutPhase, Serving
from model_engine_builder.domain.steps import Step, Wait
from model_engine_builder.domain.view import EndpointView
from model_engine_builder.domain.worker_set import Limits, worker_set_of
from model_engine_contracts.documents import (
    BundleSnapshot,
    EndpointDocument,
    EndpointSpec,
    EndpointStatus,
    Resources,
    Scaling,
)
from model_engine_contracts.endpoint_states import EndpointType
from model_engine_contracts.failures import Reason, failure_info
from model_engine_runtime.protocol import Failure, Preparation, PrepState, SetState, Worker, WorkerState

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
LIMITS = Limits()
KEY, OLD_KEY = "key-new", "key-old"
INSTALLATION = "installation"


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def spec_of(**changes: Any) -> EndpointSpec:
    bundle = BundleSnapshot(
        id="bun_1",
        name="digits",
        flavor="cloudpickle_artifact",
        flavor_json='{"flavor": "cloudpickle_artifact", "framework": {"framework_type": "pytorch"}}',
        requirements=("scikit-learn==1.7",),
        location="artifact://art_1",
        artifact_id="art_1",
        artifact_sha256="a" * 64,
        python="3.11",
    ).model_copy(update=changes.pop("bundle", {}))
    resources = Resources(cpus=1, memory_bytes=1 << 30, cpus_given=1, memory_given="1Gi")
    scaling = Scaling(min_workers=1, max_workers=2, per_worker=1, concurrent_requests_per_worker=4)
    spec = EndpointSpec(endpoint_type=EndpointType.SYNC, bundle=bundle, resources=resources, scaling=scaling)
    return spec.model_copy(update=changes)


def scaled(spec: EndpointSpec, **changes: Any) -> EndpointSpec:
    return spec.model_copy(update={"scaling": spec.scaling.model_copy(update=changes)})


def document_of(generation: int = 2, spec: EndpointSpec | None = None, **changes: Any) -> EndpointDocument:
    status = EndpointStatus(since=NOW, **changes.pop("status", {}))
    return EndpointDocument(
        id="end_1",
        name="digits",
        owner="ada",
        created_by="ada",
        created_at=NOW,
        last_updated_at=NOW,
        version=1,
        generation=generation,
        spec=spec or SPEC,
        status=status,
        **changes,
    )


def revision_of(spec: EndpointSpec, key: str = KEY) -> str:
    return worker_set_of(document_of(spec=spec), spec, key, INSTALLATION, LIMITS).revision


SPEC = spec_of()
OLD_SPEC = spec_of(bundle={"requirements": ("scikit-learn==1.6",)})
NEW, OLD = revision_of(SPEC), revision_of(OLD_SPEC, OLD_KEY)
SERVING_OLD = Serving(generation=1, revision=OLD, environment_key=OLD_KEY, spec=OLD_SPEC)
SERVING_NEW = Serving(generation=2, revision=NEW, environment_key=KEY, spec=SPEC)


def rollout(phase: RolloutPhase, **changes: Any) -> Rollout:
    fields: dict[str, Any] = {"generation": 2, "since": ago(60), "environment_key": KEY}
    if phase is RolloutPhase.PREPARING:
        fields |= {"deadline": NOW + timedelta(seconds=100)}
    elif phase is RolloutPhase.ROLLING_OUT:
        fields |= {"deadline": NOW + timedelta(seconds=100), "revision": NEW}
        fields |= {"applied_revision": NEW, "applied_generation": 2}
    elif phase is RolloutPhase.SUCCEEDED:
        fields |= {"revision": NEW, "applied_revision": NEW, "applied_generation": 2, "serving": SERVING_NEW}
    elif phase is RolloutPhase.FAILED:
        fields |= {"revision": NEW, "applied_revision": NEW, "applied_generation": 2}
        fields |= {"failure": failure_info(Reason.IMPORT_ERROR)}
    return Rollout(endpoint_id="end_1", phase=phase, **(fields | changes))


def workers(state: WorkerState, of: str = NEW, **changes: Any) -> SetState:
    worker = Worker("w1", of, state, **changes.pop("worker", {}))
    fields: dict[str, Any] = {"generation": 2, "revision": of, "replicas": 1, "workers": (worker,)}
    return SetState("end_1", **(fields | changes))


def prepared(state: PrepState, reason: Reason | None = None, changed_at: datetime = NOW) -> Preparation:
    failure = Failure(reason, "why", 1, "the log") if reason else None
    return Preparation(KEY, state, failure=failure, changed_at=changed_at.timestamp())


def step_of(
    document: EndpointDocument, known: Rollout | None, view: EndpointView | None = None, now: datetime = NOW
) -> Step | Wait:
    return next_step(document, known, view or EndpointView(), now, LIMITS, INSTALLATION)


def only(step: Step | Wait) -> Step:
    assert isinstance(step, Step)
    return step


def said(step: Step) -> list[str]:
    return [f"{fact.AGGREGATE} {fact.VERB}" for fact in step.facts]
