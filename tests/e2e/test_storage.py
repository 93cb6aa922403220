"""Artifacts from an S3 server and from a directory of the operator, and results that are large or pickled."""

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import cloudpickle
import httpx
import pytest
from moto.server import ThreadedMotoServer

from model_engine_contracts.api.endpoints import GetModelEndpointV1Response
from platform_under_test import Platform, PlatformFactory

LARGE = 10_000_000
"""More than one message holds."""


def _loader(answer: str) -> Any:
    def load_predict_fn(_: Any) -> Any:
        def predict(size: int = 0) -> Any:
            return {"answer": answer, "filling": "x" * size}

        return predict

    return load_predict_fn


def _artifact(answer: str) -> bytes:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        return bytes(cloudpickle.dumps({"load_predict_fn": _loader(answer), "model": {}}))
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


class Store:
    """An S3 server with one bucket."""

    def __init__(self, server: ThreadedMotoServer) -> None:
        self.url = "http://{}:{}".format(*server.get_host_and_port())
        self._client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )
        self._client.create_bucket(Bucket="models")

    def put(self, key: str, content: bytes) -> str:
        self._client.put_object(Bucket="models", Key=key, Body=content)
        return f"s3://models/{key}"


class Workbench:
    """A platform that may read the store and a directory."""

    def __init__(self, platform: Platform, store: Store, directory: Path) -> None:
        self.platform, self.store, self.directory = platform, store, directory
        self.api = httpx.Client(base_url=platform.running.url, auth=(platform.key, ""), timeout=30)

    def deploy(self, name: str, location: str, kind: str = "sync") -> str:
        flavor = {
            "flavor": "cloudpickle_artifact",
            "framework": {"framework_type": "pytorch", "pytorch_image_tag": "none"},
            "requirements": [],
            "location": location,
            "load_predict_fn": "",
            "load_model_fn": "",
        }
        bundle = self.post("/v2/model-bundles", {"name": name, "schema_location": "", "flavor": flavor})
        resources = {"cpus": "0.1", "memory": "256Mi", "storage": "1Gi", "gpus": 0}
        scaling = {"min_workers": 1, "max_workers": 1, "per_worker": 1}
        labels = {"team": "t", "product": "p"}
        about = {"name": name, "model_bundle_id": bundle["model_bundle_id"], "endpoint_type": kind, "metadata": {}}
        self.post("/v1/model-endpoints", {**about, **resources, **scaling, "labels": labels})
        endpoints = self.api.get("/v1/model-endpoints", params={"name": name}).json()["model_endpoints"]
        return str(endpoints[0]["id"])

    def ready(self, endpoint_id: str) -> GetModelEndpointV1Response:
        with self.platform.client() as client:
            return client.wait_until_ready(endpoint_id, 60)

    def failure(self, name: str, location: str) -> str:
        endpoint_id = self.deploy(name, location)
        with self.platform.client() as client, pytest.raises(Exception, match="ARTIFACT") as raised:
            client.wait_until_ready(endpoint_id, 60)
        return str(raised.value)

    def predict(self, endpoint_id: str, **body: Any) -> Any:
        answer = self.post(f"/v1/sync-tasks?model_endpoint_id={endpoint_id}", {"args": {}, **body})
        return answer["result"]

    def post(self, path: str, body: Any) -> Any:
        answer = self.api.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def bench(start_platform: PlatformFactory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    store, directory = Store(server), tmp_path_factory.mktemp("artifacts")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", store.url)
        environment.setenv("AWS_ACCESS_KEY_ID", "key")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        environment.setenv("AWS_REGION", "us-east-1")
        platform = start_platform(
            ME_ALLOWED_OBJECT_PREFIXES="s3://models/{owner}/",
            ME_ALLOWED_ARTIFACT_DIRECTORIES=str(directory),
        )
    yield Workbench(platform, store, directory)
    server.stop()


def test_an_artifact_of_an_object_store_and_its_next_content(bench: Workbench) -> None:
    location = bench.store.put("tester/model.pkl", _artifact("first"))
    endpoint_id = bench.deploy("from-s3", location)
    bench.ready(endpoint_id)
    assert '"first"' in bench.predict(endpoint_id)["result"]

    bench.store.put("tester/model.pkl", _artifact("second"))
    bench.post(f"/v1/model-endpoints/{endpoint_id}/restart", {})
    bench.ready(endpoint_id)
    assert '"second"' in bench.predict(endpoint_id)["result"]


def test_locations_that_cannot_be_read_say_why(bench: Workbench, tmp_path: Path) -> None:
    other = bench.store.put("somebody/model.pkl", _artifact("not yours"))
    (tmp_path / "secret.pkl").write_bytes(_artifact("secret"))
    pinned = bench.store.put("tester/pinned.pkl", _artifact("pinned"))
    for name, location, said in (
        ("missing-object", "s3://models/tester/missing.pkl", "there is no object"),
        ("foreign-object", other, "ME_ALLOWED_OBJECT_PREFIXES"),
        ("foreign-file", f"file://{tmp_path}/secret.pkl", "ME_ALLOWED_ARTIFACT_DIRECTORIES"),
        ("private-address", f"{bench.store.url}/models/tester/pinned.pkl", "not public"),
        ("wrong-content", f"{pinned}#sha256={'0' * 64}", "SHA-256"),
    ):
        assert said in bench.failure(name, location), name


def test_large_and_pickled_results(bench: Workbench) -> None:
    (bench.directory / "model.pkl").write_bytes(_artifact("file"))
    endpoint_id = bench.deploy("from-file", f"file://{bench.directory}/model.pkl", kind="async")
    bench.ready(endpoint_id)

    with bench.platform.client() as client:
        assert len(client.wait_for_task(client.submit(endpoint_id, {"size": LARGE}), 60)["filling"]) == LARGE
    task = bench.post(f"/v1/async-tasks?model_endpoint_id={endpoint_id}", {"args": {}, "return_pickled": True})
    with bench.platform.client() as client, httpx.Client() as nobody:
        client.wait_for_task(task["task_id"], 60)
        told = bench.api.get(f"/v1/async-tasks/{task['task_id']}").json()["result"]
        content = nobody.get(told["result_url"]).content
    assert pickle.loads(content) == {"answer": "file", "filling": ""}
