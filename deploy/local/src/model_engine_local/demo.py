"""The demonstration: a digits classifier deployed three times, called three ways, compared with the local model."""

import importlib
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import typer

from model_engine.bundling import Bundle
from model_engine.cli.exit_codes import ExitCode
from model_engine.cli.output import say, show_table
from model_engine.cli.watching import event_line
from model_engine.client import Client
from model_engine.connection import Connection, resolve_connection
from model_engine.deployment import EndpointSettings
from model_engine.retry import Retry, RetryPolicy
from model_engine_local.control import greet, start_detached, stop_launcher
from model_engine_local.data_dir import DataDir
from model_engine_local.launcher import UpOptions
from model_engine_local.ports import free_port

REQUIRED_ACCURACY = 0.95
READY_SECONDS = 300.0
CALLERS = 4
EXAMPLE = Path(__file__).resolve().parents[4] / "examples" / "digits"

Image = Sequence[float]


@dataclass(frozen=True, slots=True)
class Score:
    """How one way of calling did; `workers` are the ids of those that answered."""

    way: str
    images: int
    accuracy: float
    equal_to_local: bool
    seconds: float
    workers: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the labels are good and those of the local model."""
        return self.accuracy >= REQUIRED_ACCURACY and self.equal_to_local


@dataclass(frozen=True, slots=True)
class Digits:
    """The example's functions, its held-out images and what the local model says of them."""

    bundle: ModuleType
    images: list[Image]
    truth: list[int]
    local_labels: list[int]


def run(data_dir: Path | None, *, keep: bool) -> None:
    """Show everything on a platform of its own; exit status 1 when a score is not good enough."""
    digits = load_digits()
    with _platform(data_dir, keep=keep) as directory:
        scores = show(resolve_connection(data_dir=directory), digits)
    if not all(score.passed for score in scores):
        raise typer.Exit(ExitCode.FAILED)
    say("All labels equal the local model's.")


@contextmanager
def _platform(data_dir: Path | None, *, keep: bool) -> Iterator[Path]:
    directory = data_dir.absolute() if data_dir else Path(tempfile.mkdtemp(prefix="model-engine-demo-"))
    running = start_detached(UpOptions(directory, port=free_port()))
    greet(running, directory)
    try:
        yield directory
    finally:
        if keep:
            say(f"Still running at {running.url}; stop it with `model-engine down --data-dir {directory}`.")
        else:
            stop_launcher(running.launcher)
            if data_dir is None:
                shutil.rmtree(DataDir(directory).path, ignore_errors=True)


def load_digits() -> Digits:
    """Train the example's model here; ends the command where the example is not there."""
    if not EXAMPLE.is_dir():
        typer.secho(f"Error: the demo needs the folder {EXAMPLE} of a checkout.", err=True, fg="red")
        raise typer.Exit(ExitCode.FAILED)
    sys.path.insert(0, str(EXAMPLE))
    train, bundle = importlib.import_module("train"), importlib.import_module("bundle")
    _, held_out = train.split()
    labels = [int(label) for label in bundle.MODEL.predict(held_out.pixels)]
    return Digits(bundle, held_out.pixels.tolist(), [int(label) for label in held_out.labels], labels)


def show(connection: Connection, digits: Digits) -> list[Score]:
    """Deploy, call and score; prints the scores and the events of the three endpoints."""
    answered = _Answered()
    with Client(connection, policy=RetryPolicy(attempts=30), on_retry=_say_retry, on_worker=answered.note) as client:
        endpoints = {way: _deploy(client, way, digits) for way in ("sync", "streaming", "async")}
        for endpoint_id in endpoints.values():
            started = time.monotonic()
            endpoint = client.wait_until_ready(endpoint_id, READY_SECONDS)
            say(f"{endpoint.name} is {endpoint.status.value} after {time.monotonic() - started:.1f} s")
        callers: dict[str, Callable[[Client, str, list[Image]], list[int]]] = {
            "sync": call_sync,
            "streaming": call_streaming,
            "async": call_async,
        }
        scores = []
        for way, call in callers.items():
            answered.clear()
            started = time.monotonic()
            labels = call(client, endpoints[way], digits.images)
            scores.append(_score(way, labels, digits, time.monotonic() - started, answered.workers()))
        _print_scores(scores)
        for way, endpoint_id in endpoints.items():
            _print_events(client, way, endpoint_id)
    return scores


def _deploy(client: Client, way: str, digits: Digits) -> str:
    predict = digits.bundle.load_stream_fn if way == "streaming" else digits.bundle.load_predict_fn
    requirements = (f"scikit-learn=={version('scikit-learn')}",)
    bundle = Bundle(predict, digits.bundle.load_model_fn, requirements=requirements)
    settings = EndpointSettings(
        endpoint_type=way,  # type: ignore[arg-type]  # one of the three literals
        concurrent_requests_per_worker=4,
        max_workers=2,
        per_worker=1 if way == "streaming" else 4,
    )
    endpoint = client.deploy(f"digits-{way}", bundle, settings)
    say(f"deployed {endpoint.name} as {endpoint.id}")
    return endpoint.id


def call_sync(client: Client, endpoint_id: str, images: list[Image]) -> list[int]:
    """One call per image, a few at a time. A prediction changes nothing, so it may be repeated."""

    def label(image: Image) -> int:
        return int(client.predict(endpoint_id, {"images": [image]}, repeatable=True)["labels"][0])

    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(label, images))


def call_streaming(client: Client, endpoint_id: str, images: list[Image], size: int = 25) -> list[int]:
    """One stream per batch of images, one event per image. A stream that breaks in the middle is asked for again."""

    def labels(batch: list[Image]) -> list[int]:
        for _ in range(10):
            try:
                events: list[Any] = list(client.stream(endpoint_id, {"images": batch}, repeatable=True))
            except Exception as error:  # noqa: BLE001  # whatever broke it, a prediction may be repeated
                say(f"retry: the stream broke ({error}); a prediction may be repeated")
                time.sleep(0.5)
                continue
            return [int(event["label"]) for event in sorted(events, key=lambda event: int(event["index"]))]
        raise typer.Exit(ExitCode.FAILED)

    batches = [images[start : start + size] for start in range(0, len(images), size)]
    with ThreadPoolExecutor(2) as pool:
        return [label for batch in pool.map(labels, batches) for label in batch]


def call_async(client: Client, endpoint_id: str, images: list[Image]) -> list[int]:
    """One task per image, all queued before the first is waited for."""
    with ThreadPoolExecutor(CALLERS) as pool:
        tasks = list(pool.map(lambda image: client.submit(endpoint_id, {"images": [image]}), images))
        return [int(value["labels"][0]) for value in pool.map(client.wait_for_task, tasks)]


class _Answered:
    """The workers that answered, counted; callers in several threads note them."""

    def __init__(self) -> None:
        self._lock, self._counts = threading.Lock(), Counter[str]()

    def note(self, worker: str) -> None:
        with self._lock:
            self._counts[worker] += 1

    def clear(self) -> None:
        with self._lock:
            self._counts.clear()

    def workers(self) -> tuple[str, ...]:
        return tuple(sorted(self._counts))


def _score(way: str, labels: list[int], digits: Digits, seconds: float, workers: tuple[str, ...]) -> Score:
    hits = sum(label == truth for label, truth in zip(labels, digits.truth, strict=True))
    return Score(way, len(labels), hits / len(labels), labels == digits.local_labels, seconds, workers)


def _say_retry(retry: Retry) -> None:
    say(f"retry: {retry}")


def _print_scores(scores: list[Score]) -> None:
    rows = [
        (
            score.way,
            str(score.images),
            f"{score.accuracy:.4f}",
            "yes" if score.equal_to_local else "NO",
            f"{score.seconds:.1f} s",
            ", ".join(score.workers),
        )
        for score in scores
    ]
    show_table(["call", "images", "accuracy", "equals local", "took", "workers that answered"], rows)


def _print_events(client: Client, way: str, endpoint_id: str) -> None:
    typer.echo(f"\nEvents of digits-{way}:")
    for event in client.events(endpoint_id, after="0", follow=False):
        typer.echo(event_line(event))
