"""What the builder writes for a worker's forwarder is what the forwarder reads."""

import pytest

from model_engine_builder.domain.forwarder_config import forwarder_config
from model_engine_contracts.documents import BundleSnapshot, EndpointSpec, Resources, Scaling
from model_engine_contracts.endpoint_states import EndpointType
from model_engine_contracts.topology import TASKS, task_durable
from model_engine_forwarder.config import Config


@pytest.mark.parametrize("kind", list(EndpointType))
@pytest.mark.parametrize("cap", [None, 7])
def test_the_forwarder_understands_its_configuration(kind: EndpointType, cap: int | None) -> None:
    spec = EndpointSpec(
        endpoint_type=kind,
        bundle=BundleSnapshot(id="bun_1", name="digits", flavor="cloudpickle_artifact", flavor_json="{}"),
        resources=Resources(cpus=1, memory_bytes=1 << 28, cpus_given=1, memory_given="256Mi"),
        scaling=Scaling(
            min_workers=1,
            max_workers=2,
            per_worker=1,
            concurrent_requests_per_worker=3,
            forwarder_max_concurrency=cap,
        ),
    )
    written = forwarder_config("end_1", "ada", spec)
    worker = written["worker"]
    assert isinstance(worker, dict)
    read = Config.model_validate({**written, "worker": {**worker, "worker_id": "wrk_1"}})
    assert read.sync is not None
    assert not read.sync.model_engine_unwrap
    assert (read.stream is not None) == (kind is EndpointType.STREAMING)
    assert (read.async_ is not None) == (kind is EndpointType.ASYNC)
    assert read.max_concurrency == (cap or Config.model_fields["max_concurrency"].default)
    assert read.worker is not None
    queue = read.worker.queue
    assert (queue is not None) == (kind is EndpointType.ASYNC)
    if queue is not None:
        assert (queue.stream, queue.durable, queue.concurrency) == (TASKS.name, task_durable("end_1"), 3)
