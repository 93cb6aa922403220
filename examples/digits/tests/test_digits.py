"""The example's promise: accurate, deterministic, and the same labels from a model server as from the local model."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from model_engine.bundling import Bundle, load_source, write_bundle
from model_engine_local.testing import wait_until

FOLDER = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def bundle() -> Iterator[ModuleType]:
    search_path = list(sys.path)
    yield load_source(FOLDER / "bundle.py")
    sys.path[:] = search_path
    for name in ("bundle", "train"):
        sys.modules.pop(name, None)


def serve(folder: Path, load_predict_fn: Any, load_model_fn: Any) -> Iterator[str]:
    """A model server with the bundle, far from the example's files; gives its address."""
    artifact, log = folder / "artifact", folder / "log"
    write_bundle(artifact, Bundle(load_predict_fn=load_predict_fn, load_model_fn=load_model_fn))
    environ = {"PATH": os.environ["PATH"], "PORT": "0", "ME_BUNDLE_KIND": "cloudpickle"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "model_engine_model_server"],
            env={**environ, "ME_ARTIFACT_PATH": str(artifact)},
            cwd=folder,
            stderr=output,
        )

    def address() -> str | None:
        assert process.poll() is None, log.read_text()
        found = re.search(r"running on (\S+)", log.read_text())
        return found and found[1]

    try:
        yield wait_until(address, 30)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def predict_url(bundle: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("predict"), bundle.load_predict_fn, bundle.load_model_fn)


@pytest.fixture(scope="module")
def stream_url(bundle: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("stream"), bundle.load_stream_fn, bundle.load_model_fn)


def held_out() -> Any:
    return sys.modules["train"].split()[1]


def test_the_model_is_accurate_and_always_the_same(bundle: ModuleType) -> None:
    train = sys.modules["train"]
    images, held_out_images = train.split()
    assert train.accuracy(bundle.MODEL, held_out_images) >= 0.95
    again = train.train(images).predict(held_out_images.pixels)
    assert again.tolist() == bundle.MODEL.predict(held_out_images.pixels).tolist()
    assert len(held_out_images.labels) == 450


def test_a_worker_gives_the_labels_of_the_local_model(bundle: ModuleType, predict_url: str) -> None:
    images = held_out().pixels.tolist()
    answer = httpx.post(f"{predict_url}/predict", json={"args": {"images": images}}, timeout=60).json()
    assert json.loads(answer["result"])["labels"] == bundle.MODEL.predict(images).tolist()


def test_a_streaming_worker_gives_one_event_per_image(bundle: ModuleType, stream_url: str) -> None:
    images = held_out().pixels.tolist()
    answer = httpx.post(f"{stream_url}/stream", json={"args": {"images": images}}, timeout=60)
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    labels = bundle.MODEL.predict(images).tolist()
    assert events == [{"index": index, "label": label} for index, label in enumerate(labels)]
